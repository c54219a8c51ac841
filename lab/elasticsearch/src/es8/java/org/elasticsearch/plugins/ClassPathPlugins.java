package org.elasticsearch.plugins;

import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;

import org.elasticsearch.Build;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.jdk.ModuleQualifiedExportsService;

/**
 * Plugins that are classes on the class path. Elasticsearch takes them from folders, with a class loader for each. It is in this
 * package since what describes a loaded plugin is private to it.
 */
public final class ClassPathPlugins extends PluginsService {

    private final List<LoadedPlugin> plugins;

    public ClassPathPlugins(Settings settings, Environment env, List<Class<? extends Plugin>> classes) {
        super(settings, env.configFile(), null, null); // no folder of modules, and none of plugins
        plugins = classes.stream().map(type -> new LoadedPlugin(describe(type), loadPlugin(type, settings, env.configFile()),
            getClass().getClassLoader(), ModuleLayer.boot())).toList();
    }

    private static PluginDescriptor describe(Class<? extends Plugin> type) {
        return new PluginDescriptor(type.getName(), "on the class path", "1", Build.current().version(),
            Integer.toString(Runtime.version().feature()), type.getName(), null, List.of(), false, false, false, false);
    }

    @Override
    protected List<LoadedPlugin> plugins() {
        return plugins;
    }

    /** The server is no named module here, so there is nothing to export. */
    @Override
    protected void addServerExportsService(Map<String, List<ModuleQualifiedExportsService>> services) {}

    /** All plugins share one class loader, so what it provides is asked for once and not once a plugin. */
    @Override
    public <T> List<? extends T> loadServiceProviders(Class<T> service) {
        return ServiceLoader.load(service, getClass().getClassLoader()).stream().map(ServiceLoader.Provider::get).toList();
    }
}
