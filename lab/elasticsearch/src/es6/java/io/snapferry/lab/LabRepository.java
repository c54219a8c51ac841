package io.snapferry.lab;

import java.io.IOException;
import java.io.UncheckedIOException;

import org.elasticsearch.cluster.metadata.RepositoryMetaData;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.common.xcontent.NamedXContentRegistry;
import org.elasticsearch.repositories.blobstore.BlobStoreRepository;

/** Elasticsearch's own snapshot format, unchanged, on an {@link ObjectStore}. */
final class LabRepository extends BlobStoreRepository {

    private final RepositorySpec spec;
    private final BlobPath basePath;

    LabRepository(RepositoryMetaData metadata, Settings node, NamedXContentRegistry registry, RepositorySpec spec) {
        super(metadata, node, registry);
        this.spec = spec;
        BlobPath path = BlobPath.cleanPath();
        for (String element : spec.basePath()) {
            path = path.add(element);
        }
        this.basePath = path;
    }

    @Override
    protected BlobStore createBlobStore() {
        return new LabBlobStore(spec.opened());
    }

    @Override
    protected BlobPath basePath() {
        return basePath;
    }

    /** As in 5.5: the constructor above this one asks already, gets a no, and so the shard's files stay plain. */
    @Override
    protected boolean isCompress() {
        return spec != null && spec.compress();
    }

    /** The constructor above asks for this, too, and takes a null for "no limit". */
    @Override
    protected ByteSizeValue chunkSize() {
        return spec == null ? null : spec.chunkSize();
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
