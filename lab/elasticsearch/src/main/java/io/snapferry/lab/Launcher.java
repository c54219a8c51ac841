package io.snapferry.lab;

import java.io.IOException;
import java.io.PrintStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.Inet6Address;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * Starts one Elasticsearch node in this process and stops it with its parent.
 *
 * <p>Arguments are node settings, {@code key=value} each. Once HTTP answers, the one line {@code READY http=HOST:PORT} goes to
 * standard output; everything else goes to standard error. The process ends when standard input reaches its end, which also
 * happens when the parent is killed and can no longer ask for it, and on SIGTERM. Both close the node first.
 *
 * <p>What differs between Elasticsearch's versions is in {@code LabNode}, of which every version line has its own.
 */
public final class Launcher {

    /** A node that can't close (a stuck snapshot, say) must not outlive its parent. */
    private static final long CLOSE_LIMIT_SECONDS = 20;
    private static final long READY_LIMIT_SECONDS = 120;
    private static final long POLL_MILLIS = 50;

    private static volatile LabNode node;

    private Launcher() {}

    public static void main(String[] args) {
        PrintStream ready = System.out;
        System.setOut(System.err);
        setLibraryProperties();
        Thread.setDefaultUncaughtExceptionHandler((thread, e) -> {
            System.err.println("The thread " + thread.getName() + " died:");
            e.printStackTrace();
        });
        try {
            run(settings(args), ready);
        } catch (UsageException e) {
            System.err.println(e.getMessage());
            System.exit(2);
        } catch (Throwable e) { // not only exceptions: a class may fail to load
            System.err.println("The Elasticsearch node did not start:");
            e.printStackTrace();
            System.exit(1);
        }
    }

    private static void run(Map<String, String> settings, PrintStream ready) throws Exception {
        Files.createDirectories(Path.of(settings.get("path.home"), "config"));
        Runtime.getRuntime().addShutdownHook(new Thread(Launcher::close, "lab-close"));
        endWithParent();
        node = new LabNode(settings);
        node.start();
        InetSocketAddress http = node.httpAddress();
        awaitAnswer(http);
        ready.println("READY http=" + hostAndPort(http));
        ready.flush();
    }

    /**
     * What Elasticsearch's scripts pass on its command line: no deep reflection into the JDK for netty and JNA, no JMX beans for
     * Log4j. Must come before any of these classes is loaded.
     */
    private static void setLibraryProperties() {
        System.setProperty("io.netty.noUnsafe", "true");
        System.setProperty("io.netty.noKeySetOptimization", "true");
        System.setProperty("io.netty.recycler.maxCapacityPerThread", "0");
        System.setProperty("jna.nosys", "true");
        System.setProperty("log4j2.disable.jmx", "true");
        System.setProperty("log4j.skipJansi", "true");
    }

    private static Map<String, String> settings(String[] args) throws UsageException {
        Map<String, String> settings = new LinkedHashMap<>();
        settings.put("cluster.name", "snapferry-lab");
        settings.put("network.host", "127.0.0.1");
        settings.put("http.port", "0");
        settings.put("http.type", "netty4");
        settings.put("transport.type", "netty4");
        settings.put("discovery.type", "single-node");
        // A full disk of the computer must not turn into read-only indices: that would look like a bug of the tool under test.
        settings.put("cluster.routing.allocation.disk.threshold_enabled", "false");
        settings.putAll(LabNode.defaults());
        for (String arg : args) {
            int equals = arg.indexOf('=');
            if (equals <= 0) {
                throw new UsageException("The argument [" + arg + "] is not a node setting of the form key=value.");
            }
            settings.put(arg.substring(0, equals), arg.substring(equals + 1));
        }
        if (!settings.containsKey("path.home")) {
            throw new UsageException("The node needs a folder of its own: pass path.home=FOLDER.");
        }
        return settings;
    }

    /** Elasticsearch's threads are daemons, so this thread is also what keeps the process alive. */
    private static void endWithParent() {
        Thread thread = new Thread(() -> {
            byte[] ignored = new byte[256];
            try {
                while (System.in.read(ignored) >= 0) {
                    // Whatever is written here means nothing; only the end does.
                }
            } catch (IOException e) {
                // A closed descriptor is an end, too.
            }
            System.exit(0);
        }, "lab-parent");
        thread.start();
    }

    private static void close() {
        Thread limit = new Thread(() -> {
            try {
                TimeUnit.SECONDS.sleep(CLOSE_LIMIT_SECONDS);
            } catch (InterruptedException e) {
                return;
            }
            System.err.println("The node did not close within " + CLOSE_LIMIT_SECONDS + " s; ending without.");
            Runtime.getRuntime().halt(3);
        }, "lab-close-limit");
        limit.setDaemon(true);
        limit.start();
        LabNode running = node;
        if (running != null) {
            try {
                running.close();
            } catch (IOException e) {
                e.printStackTrace();
            }
        }
    }

    /** Bound is not ready: until the node has elected itself, Elasticsearch answers {@code GET /} with 503. */
    private static void awaitAnswer(InetSocketAddress http) throws IOException, InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(READY_LIMIT_SECONDS);
        while (!answers(http)) {
            if (System.nanoTime() > deadline) {
                throw new IOException("HTTP on " + hostAndPort(http) + " did not answer within " + READY_LIMIT_SECONDS + " s");
            }
            Thread.sleep(POLL_MILLIS);
        }
    }

    private static boolean answers(InetSocketAddress http) {
        try {
            HttpURLConnection connection =
                (HttpURLConnection) URI.create("http://" + hostAndPort(http) + "/").toURL().openConnection();
            connection.setConnectTimeout(1000);
            connection.setReadTimeout(1000);
            try {
                return connection.getResponseCode() == 200;
            } finally {
                connection.disconnect();
            }
        } catch (IOException e) {
            return false;
        }
    }

    private static String hostAndPort(InetSocketAddress address) {
        InetAddress ip = address.getAddress();
        String host = ip instanceof Inet6Address ? "[" + ip.getHostAddress() + "]" : ip.getHostAddress();
        return host + ":" + address.getPort();
    }

    /** The caller's mistake: worth a sentence, not a stack trace. */
    private static final class UsageException extends Exception {
        private static final long serialVersionUID = 1;

        UsageException(String message) {
            super(message);
        }
    }
}
