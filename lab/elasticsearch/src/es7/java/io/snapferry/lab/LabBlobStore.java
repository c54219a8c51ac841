package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetadata;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.DeleteResult;
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

    private final class Container extends FolderContainer {

        Container(BlobPath path) {
            super(LabBlobStore.this.store, path, path.buildAsString());
        }

        /** Only restores of searchable snapshots, which the lab has not, read from the middle of a blob. */
        @Override
        public InputStream readBlob(String name, long position, long length) {
            throw new UnsupportedOperationException("the lab reads complete blobs only");
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
            return list(prefix, false, PlainBlobMetadata::new);
        }

        @Override
        public Map<String, BlobContainer> children() throws IOException {
            return folders(LabBlobStore.this::blobContainer);
        }
    }
}
