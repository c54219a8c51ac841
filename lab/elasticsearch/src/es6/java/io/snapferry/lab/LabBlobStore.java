package io.snapferry.lab;

import java.io.IOException;
import java.util.Map;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetaData;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.support.PlainBlobMetaData;

/** Maps Elasticsearch 6.8's blob containers, which are folders, onto the keys of one bucket. */
final class LabBlobStore implements BlobStore {

    private final ObjectStore store;

    LabBlobStore(ObjectStore store) {
        this.store = store;
    }

    @Override
    public BlobContainer blobContainer(BlobPath path) {
        return new Container(path);
    }

    @Override
    public void delete(BlobPath path) throws IOException {
        store.delete(store.list(path.buildAsString()).keySet());
    }

    /** {@link LabRepository} closes the store. */
    @Override
    public void close() {}

    private final class Container extends FolderContainer {

        Container(BlobPath path) {
            super(LabBlobStore.this.store, path, path.buildAsString());
        }

        @Override
        public Map<String, BlobMetaData> listBlobs() throws IOException {
            return listBlobsByPrefix("");
        }

        @Override
        public Map<String, BlobMetaData> listBlobsByPrefix(String prefix) throws IOException {
            return list(prefix, false, PlainBlobMetaData::new);
        }
    }
}
