package io.snapferry.lab;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.util.Collection;
import java.util.SortedMap;

/**
 * One bucket, as a repository needs it. Keys are complete: the repository's base path is part of them.
 * Knows nothing of Elasticsearch, so that one implementation serves every version line.
 */
interface ObjectStore extends Closeable {

    boolean bucketExists() throws IOException;

    boolean exists(String key) throws IOException;

    /** The caller closes the stream. Throws {@link java.nio.file.NoSuchFileException} if there is no such object. */
    InputStream read(String key) throws IOException;

    /** Reads exactly {@code length} bytes and leaves the stream open. An object of that key is replaced. */
    void write(String key, InputStream blob, long length) throws IOException;

    void copy(String from, String to) throws IOException;

    /** Absent keys are no error. */
    void delete(Collection<String> keys) throws IOException;

    /** Key to length of every object whose key begins with the prefix, however deep. */
    SortedMap<String, Long> list(String prefix) throws IOException;
}
