package io.snapferry.lab;

import java.io.IOException;

import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.inject.Inject;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.index.snapshots.IndexShardRepository;
import org.elasticsearch.repositories.RepositoryName;
import org.elasticsearch.repositories.RepositorySettings;
import org.elasticsearch.repositories.blobstore.BlobStoreRepository;

/** Elasticsearch's own snapshot format, unchanged, on an {@link ObjectStore}. */
public final class LabRepository extends BlobStoreRepository {

    private final RepositorySpec spec;
    private final BlobPath basePath;
    private final BlobStore blobStore;

    @Inject
    public LabRepository(RepositoryName name, RepositorySettings settings, IndexShardRepository shards) throws IOException {
        super(name.name(), settings, shards);
        this.spec = RepositorySpec.TYPE_S3.equals(name.type())
            ? RepositorySpec.s3(name.name(), settings.settings(), settings.globalSettings())
            : RepositorySpec.oss(name.name(), settings.settings());
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

    @Override
    protected boolean isCompress() {
        return spec.compress();
    }

    @Override
    protected ByteSizeValue chunkSize() {
        return spec.chunkSize();
    }
}
