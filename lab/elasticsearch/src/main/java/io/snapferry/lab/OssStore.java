package io.snapferry.lab;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.NoSuchFileException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;

import com.aliyun.oss.OSS;
import com.aliyun.oss.OSSClientBuilder;
import com.aliyun.oss.OSSErrorCode;
import com.aliyun.oss.OSSException;
import com.aliyun.oss.model.DeleteObjectsRequest;
import com.aliyun.oss.model.ListObjectsRequest;
import com.aliyun.oss.model.OSSObjectSummary;
import com.aliyun.oss.model.ObjectListing;
import com.aliyun.oss.model.ObjectMetadata;

/**
 * A bucket reached through Alibaba's client, which checks the CRC64 of what it reads. Alibaba's plugin lets the client's own
 * exceptions through, so this does, too: Elasticsearch then answers with {@code o_s_s_exception} or {@code client_exception}
 * itself, without a cause.
 */
final class OssStore implements ObjectStore {

    /** OSS takes at most this many keys in one DeleteMultipleObjects and gives at most this many in one listing. */
    private static final int BATCH = 1000;

    private final OSS client;
    private final String bucket;

    /** {@code securityToken} may be null. */
    OssStore(String endpoint, String accessKeyId, String secretAccessKey, String securityToken, String bucket) {
        this.bucket = bucket;
        this.client = securityToken == null
            ? new OSSClientBuilder().build(endpoint, accessKeyId, secretAccessKey)
            : new OSSClientBuilder().build(endpoint, accessKeyId, secretAccessKey, securityToken);
    }

    @Override
    public boolean bucketExists() throws IOException {
        return client.doesBucketExist(bucket);
    }

    @Override
    public boolean exists(String key) throws IOException {
        return client.doesObjectExist(bucket, key);
    }

    @Override
    public InputStream read(String key) throws IOException {
        try {
            return client.getObject(bucket, key).getObjectContent();
        } catch (OSSException e) {
            if (OSSErrorCode.NO_SUCH_KEY.equals(e.getErrorCode())) {
                throw (IOException) new NoSuchFileException(key).initCause(e);
            }
            throw e;
        }
    }

    @Override
    public void write(String key, InputStream blob, long length) throws IOException {
        ObjectMetadata metadata = new ObjectMetadata();
        metadata.setContentLength(length);
        client.putObject(bucket, key, blob, metadata);
    }

    @Override
    public void copy(String from, String to) throws IOException {
        client.copyObject(bucket, from, bucket, to);
    }

    @Override
    public void delete(Collection<String> keys) throws IOException {
        List<String> rest = new ArrayList<>(keys);
        for (int at = 0; at < rest.size(); at += BATCH) {
            List<String> batch = rest.subList(at, Math.min(rest.size(), at + BATCH));
            client.deleteObjects(new DeleteObjectsRequest(bucket).withKeys(batch).withQuiet(true));
        }
    }

    @Override
    public SortedMap<String, Long> list(String prefix) throws IOException {
        SortedMap<String, Long> found = new TreeMap<>();
        String marker = null;
        do {
            ListObjectsRequest request = new ListObjectsRequest(bucket, prefix, marker, null, BATCH);
            ObjectListing page = client.listObjects(request);
            for (OSSObjectSummary object : page.getObjectSummaries()) {
                found.put(object.getKey(), object.getSize());
            }
            marker = page.isTruncated() ? page.getNextMarker() : null;
        } while (marker != null);
        return found;
    }

    @Override
    public void close() {
        client.shutdown();
    }
}
