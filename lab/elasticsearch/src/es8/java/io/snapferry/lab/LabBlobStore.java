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

import org.elasticsearch.action.ActionListener;
import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStore;
import org.elasticsearch.common.blobstore.DeleteResult;
import org.elasticsearch.common.blobstore.OperationPurpose;
import org.elasticsearch.common.blobstore.OptionalBytesReference;
import org.elasticsearch.common.blobstore.support.BlobMetadata;
import org.elasticsearch.common.bytes.BytesReference;
import org.elasticsearch.core.CheckedConsumer;

/**
 * Maps Elasticsearch 8.17's blob containers, which are folders, onto the keys of one bucket. Elasticsearch says with each call
 * what it is for, which makes no difference here.
 */
final class LabBlobStore implements BlobStore {

    private final ObjectStore store;

    LabBlobStore(ObjectStore store) {
        this.store = store;
    }

    @Override
    public BlobContainer blobContainer(BlobPath path) {
        return new Container(path);
    }

    /** These names have their folders. */
    @Override
    public void deleteBlobsIgnoringIfNotExists(OperationPurpose purpose, Iterator<String> names) throws IOException {
        List<String> keys = new ArrayList<>();
        names.forEachRemaining(keys::add);
        store.delete(keys);
    }

    /** {@link LabRepository} closes the store. */
    @Override
    public void close() {}

    private final class Container extends FolderContainer {

        Container(BlobPath path) {
            super(LabBlobStore.this.store, path, path.buildAsString());
        }

        @Override
        public boolean blobExists(OperationPurpose purpose, String name) {
            return blobExists(name);
        }

        @Override
        public InputStream readBlob(OperationPurpose purpose, String name) throws IOException {
            return readBlob(name);
        }

        /** Only restores of searchable snapshots, which the lab has not, read from the middle of a blob. */
        @Override
        public InputStream readBlob(OperationPurpose purpose, String name, long position, long length) {
            throw new UnsupportedOperationException("the lab reads complete blobs only");
        }

        @Override
        public void writeBlob(OperationPurpose purpose, String name, InputStream blob, long length, boolean failIfExists)
                throws IOException {
            writeBlob(name, blob, length, failIfExists);
        }

        /** An object store wants to know the length first, so what is written piece by piece is collected in memory. */
        @Override
        public void writeMetadataBlob(OperationPurpose purpose, String name, boolean failIfExists, boolean atomic,
                CheckedConsumer<OutputStream, IOException> writer) throws IOException {
            ByteArrayOutputStream collected = new ByteArrayOutputStream();
            writer.accept(collected);
            writeBlob(name, new ByteArrayInputStream(collected.toByteArray()), collected.size(), failIfExists);
        }

        /** Every write to an object store is atomic. */
        @Override
        public void writeBlobAtomic(OperationPurpose purpose, String name, BytesReference blob, boolean failIfExists)
                throws IOException {
            writeBlob(purpose, name, blob, failIfExists);
        }

        @Override
        public DeleteResult delete(OperationPurpose purpose) throws IOException {
            SortedMap<String, Long> blobs = store.list(folder);
            store.delete(blobs.keySet());
            return new DeleteResult(blobs.size(), blobs.values().stream().mapToLong(Long::longValue).sum());
        }

        @Override
        public void deleteBlobsIgnoringIfNotExists(OperationPurpose purpose, Iterator<String> names) throws IOException {
            List<String> keys = new ArrayList<>();
            names.forEachRemaining(name -> keys.add(folder + name));
            store.delete(keys);
        }

        @Override
        public Map<String, BlobMetadata> listBlobs(OperationPurpose purpose) throws IOException {
            return listBlobsByPrefix(purpose, "");
        }

        @Override
        public Map<String, BlobMetadata> listBlobsByPrefix(OperationPurpose purpose, String prefix) throws IOException {
            return list(prefix, false, BlobMetadata::new);
        }

        @Override
        public Map<String, BlobContainer> children(OperationPurpose purpose) throws IOException {
            return folders(LabBlobStore.this::blobContainer);
        }

        /** Only the analysis of a repository and stateless nodes, which the lab has not, use registers. */
        @Override
        public void compareAndExchangeRegister(OperationPurpose purpose, String key, BytesReference expected,
                BytesReference updated, ActionListener<OptionalBytesReference> listener) {
            listener.onFailure(new UnsupportedOperationException("the lab has no registers"));
        }
    }
}
