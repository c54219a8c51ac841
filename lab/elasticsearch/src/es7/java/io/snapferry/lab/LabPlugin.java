package io.snapferry.lab;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.xcontent.NamedXContentRegistry;
import org.elasticsearch.env.Environment;
import org.elasticsearch.indices.recovery.RecoverySettings;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.RepositoryPlugin;
import org.elasticsearch.repositories.Repository;

/**
 * Registers the repository types, the node settings {@code lab.*}, and the index settings that {@code lab.index_settings} names.
 * Elasticsearch creates it by reflection.
 */
public final class LabPlugin extends Plugin implements RepositoryPlugin {

    private static final Setting<Settings> LAB = Setting.groupSetting("lab.", Setting.Property.NodeScope);

    private final List<Setting<?>> settings = new ArrayList<>(List.of(LAB));

    public LabPlugin(Settings node) {
        for (String name : IndexSettingNames.of(node.get(IndexSettingNames.KEY))) {
            settings.add(Setting.simpleString(name, Setting.Property.IndexScope, Setting.Property.Dynamic));
        }
    }

    @Override
    public Map<String, Repository.Factory> getRepositories(Environment env, NamedXContentRegistry registry,
            ClusterService cluster, RecoverySettings recovery) {
        Settings node = env.settings();
        return Map.of(
            RepositorySpec.TYPE_S3, metadata -> new LabRepository(metadata, registry, cluster, recovery,
                RepositorySpec.s3(metadata.name(), metadata.settings(), node)),
            RepositorySpec.TYPE_OSS, metadata -> new LabRepository(metadata, registry, cluster, recovery,
                RepositorySpec.lazyOss(metadata.name(), metadata.settings())));
    }

    @Override
    public List<Setting<?>> getSettings() {
        return settings;
    }

    /**
     * Keeps the node's S3 secret out of {@code GET _nodes}, as the real plugins do. The secret in an {@code oss} repository stays
     * readable in {@code GET _snapshot}: so it is in Alibaba's plugin for 5.5.3, and the tool must live with that.
     */
    @Override
    public List<String> getSettingsFilter() {
        return List.of("lab.s3.secret_key");
    }
}
