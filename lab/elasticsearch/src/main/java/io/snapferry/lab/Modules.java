package io.snapferry.lab;

import java.util.ArrayList;
import java.util.List;

import org.elasticsearch.plugins.Plugin;

/** Elasticsearch's own modules: those of which pom.xml puts a jar on the class path for this version. */
final class Modules {

    private static final List<String> KNOWN = List.of(
        "org.elasticsearch.percolator.PercolatorPlugin",
        "org.elasticsearch.join.ParentJoinPlugin",
        "org.elasticsearch.index.mapper.MapperExtrasPlugin",
        "org.elasticsearch.analysis.common.CommonAnalysisPlugin",
        "org.elasticsearch.ingest.common.IngestCommonPlugin",
        "org.elasticsearch.painless.PainlessPlugin");

    private Modules() {}

    /** The given plugins and the modules. */
    @SafeVarargs
    static List<Class<? extends Plugin>> and(Class<? extends Plugin>... plugins) {
        List<Class<? extends Plugin>> all = new ArrayList<>(List.of(plugins));
        for (String name : KNOWN) {
            try {
                all.add(Class.forName(name).asSubclass(Plugin.class));
            } catch (ClassNotFoundException absent) {
                continue; // this version has no such module, or Maven Central doesn't
            }
        }
        return all;
    }
}
