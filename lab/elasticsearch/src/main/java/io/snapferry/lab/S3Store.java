package io.snapferry.lab;

import java.io.ByteArrayInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.nio.file.NoSuchFileException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import java.util.function.Supplier;

import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.awscore.exception.AwsServiceException;
import software.amazon.awssdk.core.checksums.RequestChecksumCalculation;
import software.amazon.awssdk.core.checksums.ResponseChecksumValidation;
import software.amazon.awssdk.core.exception.SdkException;
import software.amazon.awssdk.core.sync.RequestBody;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.s3.S3Client;
import software.amazon.awssdk.services.s3.S3Configuration;
import software.amazon.awssdk.services.s3.model.CompletedPart;
import software.amazon.awssdk.services.s3.model.DeleteObjectsResponse;
import software.amazon.awssdk.services.s3.model.NoSuchKeyException;
import software.amazon.awssdk.services.s3.model.ObjectCannedACL;
import software.amazon.awssdk.services.s3.model.ObjectIdentifier;
import software.amazon.awssdk.services.s3.model.S3Object;
import software.amazon.awssdk.services.s3.model.ServerSideEncryption;
import software.amazon.awssdk.services.s3.model.StorageClass;

/** A bucket reached through Amazon's client. */
final class S3Store implements ObjectStore {

    /** Where S3 is and who asks: on AWS the service's own business, here settings of the node. */
    record Access(URI endpoint, String region, String accessKey, String secretKey) {}

    /** How objects are written. A null leaves the header out, and with it the choice to the server. */
    record WriteOptions(int bufferSize, ServerSideEncryption encryption, ObjectCannedACL acl, StorageClass storageClass) {}

    /** S3 takes at most this many keys in one DeleteObjects. */
    private static final int DELETE_BATCH = 1000;
    /** A test may hold a request back, and a busy computer is slow. */
    private static final Duration PATIENCE = Duration.ofMinutes(20);
    private static final String CONTENT_TYPE = "application/octet-stream";

    private final S3Client client;
    private final String bucket;
    private final WriteOptions options;

    S3Store(Access access, String bucket, WriteOptions options) {
        this.bucket = bucket;
        this.options = options;
        // Amazon's plugin of these versions stores plain bodies, so an ETag is the body's MD5. The client of today would send
        // its own checksums and, over http, the aws-chunked encoding, which a server may keep as the object's encoding.
        this.client = S3Client.builder()
            .endpointOverride(access.endpoint())
            .region(Region.of(access.region()))
            .credentialsProvider(StaticCredentialsProvider.create(
                AwsBasicCredentials.create(access.accessKey(), access.secretKey())))
            .serviceConfiguration(S3Configuration.builder()
                .pathStyleAccessEnabled(true)
                .chunkedEncodingEnabled(false)
                .build())
            .requestChecksumCalculation(RequestChecksumCalculation.WHEN_REQUIRED)
            .responseChecksumValidation(ResponseChecksumValidation.WHEN_REQUIRED)
            .httpClientBuilder(UrlConnectionHttpClient.builder().connectionTimeout(PATIENCE).socketTimeout(PATIENCE))
            .build();
    }

    /**
     * Only a clear "no such bucket" is a no. A refused request is left to the repository's verification, whose error names the
     * refusal: the same order as in Amazon's plugin.
     */
    @Override
    public boolean bucketExists() throws IOException {
        try {
            client.headBucket(request -> request.bucket(bucket));
            return true;
        } catch (AwsServiceException e) {
            if (e.statusCode() == 404) {
                return false;
            }
            if (e.statusCode() == 403 || e.statusCode() == 301) {
                return true;
            }
            throw failed("look for", "", e);
        } catch (SdkException e) {
            throw failed("look for", "", e);
        }
    }

    @Override
    public boolean exists(String key) throws IOException {
        try {
            client.headObject(request -> request.bucket(bucket).key(key));
            return true;
        } catch (NoSuchKeyException e) {
            return false;
        } catch (SdkException e) {
            throw failed("look for", key, e);
        }
    }

    @Override
    public InputStream read(String key) throws IOException {
        try {
            return client.getObject(request -> request.bucket(bucket).key(key));
        } catch (NoSuchKeyException e) {
            throw (IOException) new NoSuchFileException(key).initCause(e);
        } catch (SdkException e) {
            throw failed("read", key, e);
        }
    }

    @Override
    public void write(String key, InputStream blob, long length) throws IOException {
        byte[] buffer = new byte[(int) Math.min(length, options.bufferSize())];
        if (length <= options.bufferSize()) {
            fill(blob, buffer, buffer.length);
            call("write", key, () -> client.putObject(request -> request.bucket(bucket).key(key)
                .serverSideEncryption(options.encryption()).acl(options.acl()).storageClass(options.storageClass()),
                body(buffer, buffer.length)));
        } else {
            writeParts(key, blob, length, buffer);
        }
    }

    private void writeParts(String key, InputStream blob, long length, byte[] buffer) throws IOException {
        String upload = call("start the upload of", key, () -> client.createMultipartUpload(request -> request
            .bucket(bucket).key(key).serverSideEncryption(options.encryption()).acl(options.acl())
            .storageClass(options.storageClass()))).uploadId();
        boolean complete = false;
        try {
            List<CompletedPart> parts = new ArrayList<>();
            for (long done = 0; done < length; ) {
                int size = (int) Math.min(buffer.length, length - done);
                int number = parts.size() + 1;
                fill(blob, buffer, size);
                String etag = call("write part " + number + " of", key, () -> client.uploadPart(request -> request
                    .bucket(bucket).key(key).uploadId(upload).partNumber(number), body(buffer, size))).eTag();
                parts.add(CompletedPart.builder().partNumber(number).eTag(etag).build());
                done += size;
            }
            call("complete", key, () -> client.completeMultipartUpload(request -> request.bucket(bucket).key(key)
                .uploadId(upload).multipartUpload(all -> all.parts(parts))));
            complete = true;
        } finally {
            if (!complete) {
                abort(key, upload);
            }
        }
    }

    /** Best effort: the failure that led here is the one worth reporting. */
    private void abort(String key, String upload) {
        try {
            client.abortMultipartUpload(request -> request.bucket(bucket).key(key).uploadId(upload));
        } catch (SdkException e) {
            // The parts stay behind, invisible to every reader of the bucket.
        }
    }

    @Override
    public void copy(String from, String to) throws IOException {
        call("copy", from, () -> client.copyObject(request -> request.sourceBucket(bucket).sourceKey(from)
            .destinationBucket(bucket).destinationKey(to).serverSideEncryption(options.encryption())
            .acl(options.acl()).storageClass(options.storageClass())));
    }

    @Override
    public void delete(Collection<String> keys) throws IOException {
        List<String> rest = new ArrayList<>(keys);
        for (int at = 0; at < rest.size(); at += DELETE_BATCH) {
            List<ObjectIdentifier> batch = rest.subList(at, Math.min(rest.size(), at + DELETE_BATCH)).stream()
                .map(key -> ObjectIdentifier.builder().key(key).build()).toList();
            DeleteObjectsResponse answer = call("delete", batch.get(0).key() + " and others", () ->
                client.deleteObjects(request -> request.bucket(bucket).delete(d -> d.objects(batch).quiet(true))));
            if (answer.hasErrors() && !answer.errors().isEmpty()) {
                throw new IOException("could not delete [" + answer.errors().get(0).key() + "] from the bucket [" + bucket
                    + "]: " + answer.errors().get(0).message());
            }
        }
    }

    @Override
    public SortedMap<String, Long> list(String prefix) throws IOException {
        return call("list", prefix, () -> {
            SortedMap<String, Long> found = new TreeMap<>();
            for (S3Object object : client.listObjectsV2Paginator(r -> r.bucket(bucket).prefix(prefix)).contents()) {
                found.put(object.key(), object.size());
            }
            return found;
        });
    }

    @Override
    public void close() {
        client.close();
    }

    /** The client may ask for the content again when it retries; the array must hold still until the call returns. */
    private static RequestBody body(byte[] buffer, int size) {
        return RequestBody.fromContentProvider(() -> new ByteArrayInputStream(buffer, 0, size), size, CONTENT_TYPE);
    }

    /**
     * {@code InputStream.readNBytes} would stop early here: it ends with a read of zero bytes, which Elasticsearch's streams
     * answer with "end of stream", and blobs above 8,192 bytes came out short.
     */
    private static void fill(InputStream in, byte[] buffer, int size) throws IOException {
        for (int done = 0; done < size; ) {
            int read = in.read(buffer, done, size - done);
            if (read < 0) {
                throw new EOFException("the blob ended after " + done + " of " + size + " bytes");
            }
            done += read;
        }
    }

    private <T> T call(String what, String key, Supplier<T> call) throws IOException {
        try {
            return call.get();
        } catch (SdkException e) {
            throw failed(what, key, e);
        }
    }

    private IOException failed(String what, String key, SdkException e) {
        return new IOException("could not " + what + " [" + key + "] in the bucket [" + bucket + "]: " + e.getMessage(), e);
    }
}
