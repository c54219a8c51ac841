package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.util.Map;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetaData;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.support.PlainBlobMetaData;

/** Maps Elasticsearch 5.5's blob containers, which are folders, onto the keys of one bucket. */
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

    @Override
    public void close() throws IOException {
        store.close();
    }

    private final class Container extends FolderContainer {

        Container(BlobPath path) {
            super(LabBlobStore.this.store, path, path.buildAsString());
        }

        /** Refuses to overwrite, as both vendors' plugins of this line do. */
        @Override
        public void writeBlob(String name, InputStream blob, long length) throws IOException {
            writeBlob(name, blob, length, true);
        }

        @Override
        public void move(String source, String target) throws IOException {
            refuseToReplace(target);
            super.move(source, target);
        }

        @Override
        public Map<String, BlobMetaData> listBlobs() throws IOException {
            return listBlobsByPrefix("");
        }

        @Override
        public Map<String, BlobMetaData> listBlobsByPrefix(String prefix) throws IOException {
            return list(prefix, true, PlainBlobMetaData::new);
        }
    }
}
