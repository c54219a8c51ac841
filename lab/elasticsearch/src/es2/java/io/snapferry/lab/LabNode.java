package io.snapferry.lab;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.Map;

import org.elasticsearch.Version;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.transport.InetSocketTransportAddress;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.Node;
import org.elasticsearch.node.internal.InternalSettingsPreparer;

/** Elasticsearch 2.4: a node whose plugins are classes on the class path, which only Node's protected constructor allows. */
final class LabNode {

    private final Started node;

    LabNode(Map<String, String> settings) {
        node = new Started(Settings.builder().put(settings).build());
    }

    /** Settings that exist, or are so named, in this line only. */
    static Map<String, String> defaults() {
        return Map.of(
            "http.enabled", "true",
            "http.type", "netty",
            "transport.type", "netty",
            "transport.tcp.port", "0",
            "discovery.type", "local", // this line has no single-node
            // Thread pools are sized by it: two nodes, two object stores and the tool under test share one computer.
            "processors", "2");
    }

    void start() {
        node.start();
    }

    InetSocketAddress httpAddress() {
        HttpServerTransport http = node.injector().getInstance(HttpServerTransport.class);
        return ((InetSocketTransportAddress) http.boundAddress().publishAddress()).address();
    }

    /** Declared to throw, as the node of every later line does. */
    void close() throws IOException {
        node.close();
    }

    private static final class Started extends Node {

        Started(Settings settings) {
            super(InternalSettingsPreparer.prepareEnvironment(settings, null), Version.CURRENT, List.of(LabPlugin.class));
        }
    }
}
