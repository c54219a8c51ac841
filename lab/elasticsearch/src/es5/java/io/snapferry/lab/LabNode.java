package io.snapferry.lab;

import java.net.InetSocketAddress;
import java.util.Map;

import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.transport.TransportAddress;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.transport.Netty4Plugin;

/** Elasticsearch 5.5 and 5.6: a node whose plugins are classes on the class path, which only Node's protected constructor allows. */
final class LabNode extends Node {

    LabNode(Map<String, String> settings) {
        super(InternalSettingsPreparer.prepareEnvironment(Settings.builder().put(settings).build(), null),
            Modules.and(Netty4Plugin.class, LabPlugin.class));
    }

    /** Settings that exist, or are so named, in this line only. */
    static Map<String, String> defaults() {
        return Map.of(
            "http.enabled", "true",
            "transport.tcp.port", "0",
            // Thread pools are sized by it: two nodes, two object stores and the tool under test share one computer.
            "processors", "2");
    }

    InetSocketAddress httpAddress() {
        TransportAddress address = injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        return new InetSocketAddress(address.getAddress(), address.getPort());
    }
}
