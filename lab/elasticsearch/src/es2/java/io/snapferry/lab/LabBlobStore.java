package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Map;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetaData;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.support.PlainBlobMetaData;
import org.elasticsearch.common.bytes.BytesReference;

/** Maps Elasticsearch 2.4's blob containers, which are folders, onto the keys of one bucket. */
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
        store.delete(store.list(folder(path)).keySet());
    }

    @Override
    public void close() {
        try {
            store.close();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Empty, or ends with a slash. */
    private static String folder(BlobPath path) {
        String joined = path.buildAsString("/");
        return joined.isEmpty() ? "" : joined + "/";
    }

    private final class Container extends FolderContainer {

        Container(BlobPath path) {
            super(LabBlobStore.this.store, path, folder(path));
        }

        /** Overwrites, as Amazon's plugin of this line does: the list of snapshots has one name only. */
        @Override
        public void writeBlob(String name, InputStream blob, long length) throws IOException {
            writeBlob(name, blob, length, false);
        }

        @Override
        public void writeBlob(String name, BytesReference blob) throws IOException {
            writeBlob(name, blob.streamInput(), blob.length());
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
