package io.snapferry.lab;

import java.io.IOException;
import java.io.UncheckedIOException;

import org.elasticsearch.cluster.metadata.RepositoryMetadata;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.common.util.BigArrays;
import org.elasticsearch.indices.recovery.RecoverySettings;
import org.elasticsearch.repositories.blobstore.BlobStoreRepository;
import org.elasticsearch.xcontent.NamedXContentRegistry;

/**
 * Elasticsearch's own snapshot format, unchanged, on an {@link ObjectStore}. It reads the setting {@code compress} itself, and
 * its default is true.
 */
final class LabRepository extends BlobStoreRepository {

    private final RepositorySpec spec;

    LabRepository(RepositoryMetadata metadata, NamedXContentRegistry registry, ClusterService cluster, BigArrays arrays,
            RecoverySettings recovery, RepositorySpec spec) {
        super(metadata, registry, cluster, arrays, recovery, pathOf(spec));
        this.spec = spec;
    }

    private static BlobPath pathOf(RepositorySpec spec) {
        BlobPath path = BlobPath.EMPTY;
        for (String element : spec.basePath()) {
            path = path.add(element);
        }
        return path;
    }

    @Override
    protected BlobStore createBlobStore() {
        return new LabBlobStore(spec.opened());
    }

    @Override
    protected ByteSizeValue chunkSize() {
        return spec.chunkSize();
    }

    /** Elasticsearch closes a blob store only if something has asked for it; the client is open since registration. */
    @Override
    protected void doClose() {
        super.doClose();
        try {
            spec.store().close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
