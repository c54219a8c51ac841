package org.elasticsearch.node;

import java.util.List;

import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.plugins.ClassPathPlugins;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginsService;

/**
 * A node with given plugins. It is in this package since 8.x has no other constructor of a node than one that is private to it,
 * and what replaces a part of the node is so, too.
 */
public class ClassPathNode extends Node {

    protected ClassPathNode(Environment env, List<Class<? extends Plugin>> plugins) {
        super(NodeConstruction.prepareConstruction(env, new NodeServiceProvider() {
            @Override
            PluginsService newPluginService(Environment environment, Settings settings) {
                return new ClassPathPlugins(settings, environment, plugins);
            }
        }, true));
    }
}
