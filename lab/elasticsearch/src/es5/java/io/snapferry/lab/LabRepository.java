package io.snapferry.lab;

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
    private final BlobStore blobStore;

    LabRepository(RepositoryMetaData metadata, Settings node, NamedXContentRegistry registry, RepositorySpec spec) {
        super(metadata, node, registry);
        this.spec = spec;
        BlobPath path = BlobPath.cleanPath();
        for (String element : spec.basePath()) {
            path = path.add(element);
        }
        this.basePath = path;
        this.blobStore = new LabBlobStore(spec.store());
    }

    @Override
    protected BlobStore blobStore() {
        return blobStore;
    }

    @Override
    protected BlobPath basePath() {
        return basePath;
    }

    /**
     * The constructor above this one asks already, and gets a no: so the shard's files stay plain and only the files at the root and
     * the index metadata follow the setting. Every repository of this line has that order, so real buckets look the same.
     */
    @Override
    protected boolean isCompress() {
        return spec != null && spec.compress();
    }

    /** In 5.6 the constructor above asks for this, too, and takes a null for "no limit". */
    @Override
    protected ByteSizeValue chunkSize() {
        return spec == null ? null : spec.chunkSize();
    }
}
