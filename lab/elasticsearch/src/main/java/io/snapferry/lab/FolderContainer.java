package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.NoSuchFileException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.BiFunction;
import java.util.function.Function;

import org.elasticsearch.common.blobstore.BlobContainer;
import org.elasticsearch.common.blobstore.BlobPath;
import org.elasticsearch.common.blobstore.BlobStoreException;
import org.elasticsearch.common.blobstore.support.AbstractBlobContainer;

/**
 * What the blob containers of all lines have in common: a container is a folder, and the key of a blob is the folder and the
 * blob's name. A line adds what its own interface wants beyond that, in its {@code LabBlobStore}. Nothing here is marked as an
 * override: in 8.x every method has one more argument.
 */
abstract class FolderContainer extends AbstractBlobContainer {

    final ObjectStore store;
    /** Empty, or ends with a slash. */
    final String folder;

    FolderContainer(ObjectStore store, BlobPath path, String folder) {
        super(path);
        this.store = store;
        this.folder = folder;
    }

    public boolean blobExists(String name) {
        try {
            return store.exists(folder + name);
        } catch (IOException e) {
            throw new BlobStoreException("could not tell whether the blob [" + name + "] exists", e);
        }
    }

    public InputStream readBlob(String name) throws IOException {
        return store.read(folder + name);
    }

    /** From 6.8 on Elasticsearch says whether a blob may be replaced. */
    public void writeBlob(String name, InputStream blob, long length, boolean failIfExists) throws IOException {
        if (failIfExists) {
            refuseToReplace(name);
        }
        store.write(folder + name, blob, length);
    }

    final void refuseToReplace(String name) throws IOException {
        if (store.exists(folder + name)) {
            throw new FileAlreadyExistsException(folder + name);
        }
    }

    /** Up to 6.8. Later lines delete several at once. */
    public void deleteBlob(String name) throws IOException {
        if (!store.exists(folder + name)) {
            throw new NoSuchFileException(folder + name);
        }
        store.delete(List.of(folder + name));
    }

    /** Up to 6.8. Neither store can rename. Elasticsearch 5.5 writes index-N under a temporary name and moves it, in daily use. */
    public void move(String source, String target) throws IOException {
        store.copy(folder + source, folder + target);
        store.delete(List.of(folder + source));
    }

    /** The blobs of this folder by name, {@code deep} with those that lie deeper. {@code blob} makes one of its name and length. */
    final <B> Map<String, B> list(String prefix, boolean deep, BiFunction<String, Long, B> blob) throws IOException {
        Map<String, B> blobs = new HashMap<>();
        store.list(folder + prefix).forEach((key, length) -> {
            String name = key.substring(folder.length());
            if (deep || name.indexOf('/') < 0) {
                blobs.put(name, blob.apply(name, length));
            }
        });
        return blobs;
    }

    /** The folders in this one, from 7.x on. {@code open} makes a container of a path. */
    final Map<String, BlobContainer> folders(Function<BlobPath, BlobContainer> open) throws IOException {
        Map<String, BlobContainer> folders = new HashMap<>();
        for (String key : store.list(folder).keySet()) {
            int slash = key.indexOf('/', folder.length());
            if (slash >= 0) {
                folders.computeIfAbsent(key.substring(folder.length(), slash), name -> open.apply(path().add(name)));
            }
        }
        return folders;
    }
}
