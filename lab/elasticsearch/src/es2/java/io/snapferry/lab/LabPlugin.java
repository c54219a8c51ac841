package io.snapferry.lab;

import org.elasticsearch.index.snapshots.blobstore.BlobStoreIndexShardRepository;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.repositories.RepositoriesModule;

/** Registers the repository types. Elasticsearch creates it by reflection; this line knows no list of allowed settings. */
public final class LabPlugin extends Plugin {

    @Override
    public String name() {
        return "snapferry-lab";
    }

    @Override
    public String description() {
        return "Snapshot repositories of the types s3 and oss";
    }

    /** Elasticsearch finds it by its name and its parameter. */
    public void onModule(RepositoriesModule repositories) {
        repositories.registerRepository(RepositorySpec.TYPE_S3, LabRepository.class, BlobStoreIndexShardRepository.class);
        repositories.registerRepository(RepositorySpec.TYPE_OSS, LabRepository.class, BlobStoreIndexShardRepository.class);
    }
}
