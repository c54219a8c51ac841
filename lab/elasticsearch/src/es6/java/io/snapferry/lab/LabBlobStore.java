package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileAlreadyExistsException;
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

    private final class Container extends AbstractBlobContainer {

        /** Empty, or ends with a slash. */
        private final String folder;

        Container(BlobPath path) {
            super(path);
            this.folder = path.buildAsString();
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

        @Override
        public void writeBlob(String name, InputStream blob, long length, boolean failIfExists) throws IOException {
            if (failIfExists && store.exists(folder + name)) {
                throw new FileAlreadyExistsException(folder + name);
            }
            store.write(folder + name, blob, length);
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
    }
}
