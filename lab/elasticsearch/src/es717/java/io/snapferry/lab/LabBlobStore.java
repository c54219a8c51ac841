package io.snapferry.lab;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobMetadata;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.DeleteResult;
import org.elasticsearch.common.blobstore.support.PlainBlobMetadata;
import org.elasticsearch.common.bytes.BytesReference;
import org.elasticsearch.core.CheckedConsumer;

/** Maps Elasticsearch 7.17's blob containers, which are folders, onto the keys of one bucket. */
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

        /** An object store wants to know the length first, so what is written piece by piece is collected in memory. */
        @Override
        public void writeBlob(String name, boolean failIfExists, boolean atomic,
                CheckedConsumer<OutputStream, IOException> writer) throws IOException {
            ByteArrayOutputStream collected = new ByteArrayOutputStream();
            writer.accept(collected);
            writeBlob(name, new ByteArrayInputStream(collected.toByteArray()), collected.size(), failIfExists);
        }

        /** Every write to an object store is atomic. */
        @Override
        public void writeBlobAtomic(String name, BytesReference blob, boolean failIfExists) throws IOException {
            writeBlob(name, blob, failIfExists);
        }

        @Override
        public DeleteResult delete() throws IOException {
            SortedMap<String, Long> blobs = store.list(folder);
            store.delete(blobs.keySet());
            return new DeleteResult(blobs.size(), blobs.values().stream().mapToLong(Long::longValue).sum());
        }

        @Override
        public void deleteBlobsIgnoringIfNotExists(Iterator<String> names) throws IOException {
            List<String> keys = new ArrayList<>();
            names.forEachRemaining(name -> keys.add(folder + name));
            store.delete(keys);
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
