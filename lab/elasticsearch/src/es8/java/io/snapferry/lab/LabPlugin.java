package io.snapferry.lab;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.function.Predicate;
import java.util.function.Supplier;

import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.common.util.BigArrays;
import org.elasticsearch.env.Environment;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.indices.recovery.RecoverySettings;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.RepositoryPlugin;
import org.elasticsearch.repositories.RepositoriesMetrics;
import org.elasticsearch.repositories.Repository;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.xcontent.NamedXContentRegistry;

/**
 * Registers the repository types, the node settings {@code lab.*}, the index settings that {@code lab.index_settings} names, and
 * {@code GET /}. Elasticsearch creates it by reflection.
 */
public final class LabPlugin extends Plugin implements ActionPlugin, RepositoryPlugin {

    private static final Setting<Settings> LAB = Setting.groupSetting("lab.", Setting.Property.NodeScope);

    private final List<Setting<?>> settings = new ArrayList<>(List.of(LAB));
    private volatile ClusterService cluster;

    public LabPlugin(Settings node) {
        for (String name : IndexSettingNames.of(node.get(IndexSettingNames.KEY))) {
            settings.add(Setting.simpleString(name, Setting.Property.IndexScope, Setting.Property.Dynamic));
        }
    }

    @Override
    public Map<String, Repository.Factory> getRepositories(Environment env, NamedXContentRegistry registry,
            ClusterService cluster, BigArrays arrays, RecoverySettings recovery, RepositoriesMetrics metrics) {
        Settings node = env.settings();
        return Map.of(
            RepositorySpec.TYPE_S3, metadata -> new LabRepository(metadata, registry, cluster, arrays, recovery,
                RepositorySpec.s3(metadata.name(), metadata.settings(), node)),
            RepositorySpec.TYPE_OSS, metadata -> new LabRepository(metadata, registry, cluster, arrays, recovery,
                RepositorySpec.lazyOss(metadata.name(), metadata.settings())));
    }

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(Settings node, NamedWriteableRegistry registry, RestController controller,
            ClusterSettings clusterSettings, IndexScopedSettings indexSettings, SettingsFilter filter,
            IndexNameExpressionResolver resolver, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> supports) {
        return List.of(new LabRoot(node, () -> cluster));
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
