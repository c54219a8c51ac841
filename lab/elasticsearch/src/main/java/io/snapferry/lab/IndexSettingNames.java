package io.snapferry.lab;

import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Names of index settings that the node accepts beside Elasticsearch's own, separated by commas. They stand in for the settings of
 * a vendor's plugins, which another cluster does not know.
 */
final class IndexSettingNames {

    /** The node setting that holds the names. */
    static final String KEY = "lab.index_settings";

    private IndexSettingNames() {
    }

    /** The names in the node setting's value; none if it is absent. */
    static List<String> of(String value) {
        return Stream.of(value == null ? new String[0] : value.split(","))
            .map(String::trim).filter(name -> !name.isEmpty()).collect(Collectors.toList());
    }
}
