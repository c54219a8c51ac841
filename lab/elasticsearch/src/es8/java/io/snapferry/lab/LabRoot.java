package io.snapferry.lab;

import java.io.IOException;
import java.util.List;
import java.util.function.Supplier;

import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.component.Lifecycle;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.index.IndexVersion;
import org.elasticsearch.node.Node;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * {@code GET /} and {@code HEAD /}. In 8.x they are in the module rest-root, which is not on Maven Central. It answers what that
 * module answers: 503 until the node knows its cluster.
 */
final class LabRoot extends BaseRestHandler {

    private final Settings node;
    private final Supplier<ClusterService> cluster;

    LabRoot(Settings node, Supplier<ClusterService> cluster) {
        this.node = node;
        this.cluster = cluster;
    }

    @Override
    public String getName() {
        return "lab_root";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        return channel -> {
            ClusterService service = cluster.get();
            if (service.lifecycleState() != Lifecycle.State.STARTED) {
                channel.sendResponse(new RestResponse(RestStatus.SERVICE_UNAVAILABLE, "the node is starting"));
                return;
            }
            ClusterState state = service.state();
            boolean blocked = state.blocks().hasGlobalBlockWithStatus(RestStatus.SERVICE_UNAVAILABLE);
            channel.sendResponse(new RestResponse(blocked ? RestStatus.SERVICE_UNAVAILABLE : RestStatus.OK,
                describe(channel.newBuilder().prettyPrint(), state)));
        };
    }

    private XContentBuilder describe(XContentBuilder answer, ClusterState state) throws IOException {
        Build build = Build.current();
        return answer.startObject()
            .field("name", Node.NODE_NAME_SETTING.get(node))
            .field("cluster_name", state.getClusterName().value())
            .field("cluster_uuid", state.metadata().clusterUUID())
            .startObject("version")
            .field("number", build.qualifiedVersion())
            .field("build_flavor", build.flavor())
            .field("build_type", build.type().displayName())
            .field("build_hash", build.hash())
            .field("build_date", build.date())
            .field("build_snapshot", build.isSnapshot())
            .field("lucene_version", IndexVersion.current().luceneVersion().toString())
            .field("minimum_wire_compatibility_version", build.minWireCompatVersion())
            .field("minimum_index_compatibility_version", build.minIndexCompatVersion())
            .endObject()
            .field("tagline", "You Know, for Search")
            .endObject();
    }
}
