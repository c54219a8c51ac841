package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileAlreadyExistsException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetadata;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.DeleteResult;
import org.elasticsearch.common.blobstore.support.AbstractBlobContainer;
import org.elasticsearch.common.blobstore.support.PlainBlobMetadata;

/** Maps Elasticsearch 7.10's blob containers, which are folders, onto the keys of one bucket. */
final class LabBlobStore implements BlobStore {

    private final ObjectStore store;

    LabBlobStore(ObjectStore store) {
        this.store = store;
    }

    @Override
    public BlobContainer blobContainer(BlobPath path) {
        return new Container(path);
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
        public boolean blobExists(String name) throws IOException {
            return store.exists(folder + name);
        }

        @Override
        public InputStream readBlob(String name) throws IOException {
            return store.read(folder + name);
        }

        /** Only restores of searchable snapshots, which the lab has not, read from the middle of a blob. */
        @Override
        public InputStream readBlob(String name, long position, long length) {
            throw new UnsupportedOperationException("the lab reads whole blobs only");
        }

        @Override
        public void writeBlob(String name, InputStream blob, long length, boolean failIfExists) throws IOException {
            if (failIfExists && store.exists(folder + name)) {
                throw new FileAlreadyExistsException(folder + name);
            }
            store.write(folder + name, blob, length);
        }

        /** Every write to an object store is atomic. */
        @Override
        public void writeBlobAtomic(String name, InputStream blob, long length, boolean failIfExists) throws IOException {
            writeBlob(name, blob, length, failIfExists);
        }

        @Override
        public DeleteResult delete() throws IOException {
            SortedMap<String, Long> blobs = store.list(folder);
            store.delete(blobs.keySet());
            return new DeleteResult(blobs.size(), blobs.values().stream().mapToLong(Long::longValue).sum());
        }

        @Override
        public void deleteBlobsIgnoringIfNotExists(List<String> names) throws IOException {
            store.delete(names.stream().map(name -> folder + name).toList());
        }

        @Override
        public Map<String, BlobMetadata> listBlobs() throws IOException {
            return listBlobsByPrefix("");
        }

        @Override
        public Map<String, BlobMetadata> listBlobsByPrefix(String prefix) throws IOException {
            Map<String, BlobMetadata> blobs = new HashMap<>();
            store.list(folder + prefix).forEach((key, length) -> {
                String name = key.substring(folder.length());
                if (name.indexOf('/') < 0) {
                    blobs.put(name, new PlainBlobMetadata(name, length));
                }
            });
            return blobs;
        }

        @Override
        public Map<String, BlobContainer> children() throws IOException {
            Map<String, BlobContainer> children = new HashMap<>();
            for (String key : store.list(folder).keySet()) {
                int slash = key.indexOf('/', folder.length());
                if (slash >= 0) {
                    String name = key.substring(folder.length(), slash);
                    children.computeIfAbsent(name, child -> new Container(path().add(child)));
                }
            }
            return children;
        }
    }
}
