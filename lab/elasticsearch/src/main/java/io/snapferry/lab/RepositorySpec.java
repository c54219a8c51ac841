package io.snapferry.lab;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;

import org.elasticsearch.common.blobstore.BlobStoreException;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.unit.ByteSizeUnit;
import org.elasticsearch.common.unit.ByteSizeValue;
import org.elasticsearch.repositories.RepositoryException;

import software.amazon.awssdk.services.s3.model.ObjectCannedACL;
import software.amazon.awssdk.services.s3.model.ServerSideEncryption;
import software.amazon.awssdk.services.s3.model.StorageClass;

/**
 * What a registration asks for, once it has been accepted: an open bucket, the path inside it, and how blobs are cut and packed.
 * {@link #s3} and {@link #oss} read the settings of one type each and refuse what that type refuses. The settings that every
 * repository has (readonly, max_*_bytes_per_sec) are Elasticsearch's own business.
 *
 * @param basePath the path's elements, without slashes
 * @param unlessBucketExists what the first use says if there is no bucket; null if registration has looked already
 */
record RepositorySpec(ObjectStore store, List<String> basePath, ByteSizeValue chunkSize, boolean compress,
        String unlessBucketExists) {

    static final String TYPE_S3 = "s3";
    static final String TYPE_OSS = "oss";

    private static final ByteSizeValue ONE_MB = new ByteSizeValue(1, ByteSizeUnit.MB);
    private static final ByteSizeValue ONE_GB = new ByteSizeValue(1, ByteSizeUnit.GB);
    /** Amazon: the smallest part of a multipart upload. The plugin takes no smaller buffer, the lab by default no larger one. */
    private static final ByteSizeValue SMALLEST_PART = new ByteSizeValue(5, ByteSizeUnit.MB);
    /** A part is held in memory as one array; Amazon's limit would be 5gb. */
    private static final ByteSizeValue LARGEST_PART = new ByteSizeValue(1, ByteSizeUnit.GB);
    private static final ByteSizeValue LARGEST_OBJECT = new ByteSizeValue(5, ByteSizeUnit.TB);
    private static final Pattern HOST = Pattern.compile("[a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+");

    /**
     * The type {@code s3}. region, endpoint and role_arn are accepted as AWS accepts them, but lead nowhere: which server is S3 here,
     * and with which keys, say the node's settings {@code lab.s3.*}.
     */
    static RepositorySpec s3(String repository, Settings settings, Settings node) throws IOException {
        String bucket = settings.get("bucket");
        if (isBlank(bucket)) {
            throw new RepositoryException(repository, "No bucket defined for s3 gateway");
        }
        String endpoint = settings.get("endpoint");
        if (endpoint != null && !HOST.matcher(endpoint).matches()) {
            throw new RepositoryException(repository,
                "the endpoint [" + endpoint + "] is no host name like s3.amazonaws.com");
        }
        List<String> basePath = basePath(repository, settings);
        ByteSizeValue buffer = size(repository, settings, "buffer_size", SMALLEST_PART, SMALLEST_PART, LARGEST_PART);
        ByteSizeValue chunk = size(repository, settings, "chunk_size", ONE_GB, SMALLEST_PART, LARGEST_OBJECT);
        if (chunk.getBytes() < buffer.getBytes()) {
            throw new RepositoryException(repository,
                "chunk_size (" + chunk + ") can't be lower than buffer_size (" + buffer + ").");
        }
        S3Store.WriteOptions options = new S3Store.WriteOptions((int) buffer.getBytes(),
            settings.getAsBoolean("server_side_encryption", false) ? ServerSideEncryption.AES256 : null,
            cannedAcl(repository, settings), storageClass(repository, settings));

        ObjectStore store = withBucket(new S3Store(access(repository, node), bucket, options), repository,
            "The bucket [" + bucket
                + "] does not exist. Please create it before creating an s3 snapshot repository backed by it.");
        return new RepositorySpec(store, basePath, chunk, settings.getAsBoolean("compress", false), null);
    }

    /** The type {@code oss}, as the public plugin for 5.5.3 has it: an absent bucket is noticed at registration. */
    static RepositorySpec oss(String repository, Settings settings) throws IOException {
        RepositorySpec spec = lazyOss(repository, settings);
        withBucket(spec.store, repository, noBucket(settings.get("bucket")));
        return new RepositorySpec(spec.store, spec.basePath, spec.chunkSize, spec.compress, null);
    }

    /**
     * The type {@code oss}, as the public plugins for 6.x have it: nothing asks OSS before something is read or written, so that
     * even an absent bucket is acknowledged at registration.
     */
    static RepositorySpec lazyOss(String repository, Settings settings) {
        String endpoint = required(repository, settings, "endpoint");
        String accessKeyId = required(repository, settings, "access_key_id");
        String secretAccessKey = required(repository, settings, "secret_access_key");
        String bucket = required(repository, settings, "bucket");
        String securityToken = settings.get("security_token");
        List<String> basePath = basePath(repository, settings);
        ByteSizeValue chunk = size(repository, settings, "chunk_size", ONE_GB, ONE_MB, ONE_GB);

        ObjectStore store =
            new OssStore(endpoint, accessKeyId, secretAccessKey, isBlank(securityToken) ? null : securityToken, bucket);
        return new RepositorySpec(store, basePath, chunk, settings.getAsBoolean("compress", false), noBucket(bucket));
    }

    /** The store at its first use. A repository that was registered without a look at its bucket fails here. */
    ObjectStore opened() {
        try {
            if (unlessBucketExists != null && !store.bucketExists()) {
                throw new BlobStoreException(unlessBucketExists);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return store;
    }

    private static String noBucket(String bucket) {
        return "Bucket [" + bucket + "] does not exist";
    }

    private static S3Store.Access access(String repository, Settings node) {
        String endpoint = node.get("lab.s3.endpoint");
        String accessKey = node.get("lab.s3.access_key");
        String secretKey = node.get("lab.s3.secret_key");
        if (isBlank(endpoint) || isBlank(accessKey) || isBlank(secretKey)) {
            throw new RepositoryException(repository, "this lab node knows no S3 server: "
                + "start it with lab.s3.endpoint, lab.s3.access_key and lab.s3.secret_key");
        }
        return new S3Store.Access(URI.create(endpoint), node.get("lab.s3.region", "us-east-1"), accessKey, secretKey);
    }

    /** A client holds connections and threads, so a registration that is refused must not leave one open. */
    private static ObjectStore withBucket(ObjectStore store, String repository, String refusal) throws IOException {
        boolean accepted = false;
        try {
            if (!store.bucketExists()) {
                throw new RepositoryException(repository, refusal);
            }
            accepted = true;
            return store;
        } finally {
            if (!accepted) {
                store.close();
            }
        }
    }

    private static String required(String repository, Settings settings, String key) {
        String value = settings.get(key);
        if (isBlank(value)) {
            throw new RepositoryException(repository, "Setting [" + key + "] is empty for repository");
        }
        return value;
    }

    /**
     * A leading slash is refused for both types, although Alibaba's plugin takes it: the keys it then asks for begin with a
     * slash, and the repository looks empty. A plan that does so should fail in the lab, not in production.
     */
    private static List<String> basePath(String repository, Settings settings) {
        String path = settings.get("base_path", "");
        if (path.startsWith("/")) {
            throw new RepositoryException(repository, "base_path [" + path + "] must not start with a slash");
        }
        return path.isEmpty() ? List.of() : List.of(path.split("/"));
    }

    private static ByteSizeValue size(String repository, Settings settings, String key, ByteSizeValue byDefault,
            ByteSizeValue smallest, ByteSizeValue largest) {
        ByteSizeValue value = settings.getAsBytesSize(key, byDefault);
        if (value.getBytes() < smallest.getBytes() || value.getBytes() > largest.getBytes()) {
            throw new RepositoryException(repository,
                key + " [" + value + "] must lie between " + smallest + " and " + largest);
        }
        return value;
    }

    private static ObjectCannedACL cannedAcl(String repository, Settings settings) {
        String name = settings.get("canned_acl");
        if (name == null) {
            return null;
        }
        ObjectCannedACL acl = ObjectCannedACL.fromValue(name);
        if (acl == ObjectCannedACL.UNKNOWN_TO_SDK_VERSION) {
            throw new RepositoryException(repository, "cannedACL is not valid: [" + name + "]");
        }
        return acl;
    }

    private static StorageClass storageClass(String repository, Settings settings) {
        String name = settings.get("storage_class");
        if (name == null) {
            return null;
        }
        StorageClass known = StorageClass.fromValue(name.toUpperCase(Locale.ROOT));
        if (known == StorageClass.UNKNOWN_TO_SDK_VERSION || known == StorageClass.GLACIER) {
            throw new RepositoryException(repository, "`" + name + "` is not a storage class for snapshots.");
        }
        return known;
    }

    private static boolean isBlank(String value) {
        return value == null || value.isBlank();
    }
}
