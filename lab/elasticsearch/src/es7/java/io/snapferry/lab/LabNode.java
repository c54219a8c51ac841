package io.snapferry.lab;

import java.net.InetSocketAddress;
import java.util.Map;

import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** Elasticsearch 7.10: a node whose plugins are classes on the class path, which only Node's protected constructor allows. */
final class LabNode extends Node {

    LabNode(Map<String, String> settings) {
        super(InternalSettingsPreparer.prepareEnvironment(
                Settings.builder().putProperties(settings, key -> key).build(), Map.of(), null, () -> "lab"),
            Modules.and(Netty4Plugin.class, LabPlugin.class), true);
    }

    /** Settings that exist, or are so named, in this line only. */
    static Map<String, String> defaults() {
        return Map.of(
            "transport.port", "0",
            // Thread pools are sized by it: two nodes, two object stores and the tool under test share one computer.
            "node.processors", "2");
    }

    InetSocketAddress httpAddress() {
        return injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().address();
    }

    /** Only Elasticsearch's own log configuration shows these ids; setting them twice in one JVM would fail. */
    @Override
    protected void configureNodeAndClusterIdStateListener(ClusterService clusterService) {}
}
