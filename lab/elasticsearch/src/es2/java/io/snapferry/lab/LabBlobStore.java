package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.NoSuchFileException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetaData;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.BlobStoreException;
import org.elasticsearch.common.blobstore.support.AbstractBlobContainer;
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

    private final class Container extends AbstractBlobContainer {

        private final String folder;

        Container(BlobPath path) {
            super(path);
            this.folder = folder(path);
        }

        @Override
        public boolean blobExists(String name) {
            try {
                return store.exists(folder + name);
            } catch (IOException e) {
                throw new BlobStoreException("could not tell whether the blob [" + name + "] exists", e);
            }
        }

        @Override
        public InputStream readBlob(String name) throws IOException {
            return store.read(folder + name);
        }

        /** Overwrites, as Amazon's plugin of this line does: the list of snapshots has one name only. */
        @Override
        public void writeBlob(String name, InputStream blob, long length) throws IOException {
            store.write(folder + name, blob, length);
        }

        @Override
        public void writeBlob(String name, BytesReference blob) throws IOException {
            store.write(folder + name, blob.streamInput(), blob.length());
        }

        @Override
        public void deleteBlob(String name) throws IOException {
            if (!store.exists(folder + name)) {
                throw new NoSuchFileException(folder + name);
            }
            store.delete(List.of(folder + name));
        }

        @Override
        public Map<String, BlobMetaData> listBlobs() throws IOException {
            return listBlobsByPrefix("");
        }

        @Override
        public Map<String, BlobMetaData> listBlobsByPrefix(String prefix) throws IOException {
            Map<String, BlobMetaData> blobs = new HashMap<>();
            store.list(folder + prefix).forEach((key, length) -> {
                String name = key.substring(folder.length());
                if (name.indexOf('/') < 0) {
                    blobs.put(name, new PlainBlobMetaData(name, length));
                }
            });
            return blobs;
        }

        @Override
        public void move(String source, String target) throws IOException {
            store.copy(folder + source, folder + target);
            store.delete(List.of(folder + source));
        }
    }
}
