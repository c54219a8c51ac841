// Package osstest is an Alibaba Cloud Object Storage Service (OSS) for tests and the lab, in the
// manner of net/http/httptest. It has two faces in front of one store: OSS's own protocol, and
// S3's. In spite of its name it is an S3 server too, which the benchmarks and the tests of the S3
// client use.
//
// No usable OSS emulator exists. This one checks what the real service would check and what a
// client gets wrong: signatures (V1 and V4, as Alibaba's Go SDK v3.0.2 and Java SDK 3.18.1 send
// them), the limits of multipart uploads, names, ranges, conditions and digests. Objects live in
// files below one folder, with a journal of each bucket's index. A server that is started again on
// the same folder has the same buckets, objects and uploads in progress. Nothing is synced to the
// disk: it survives the process, not a power cut.
//
//	srv, err := osstest.Start(osstest.Options{
//		Dir:    t.TempDir(),
//		Region: "cn-hangzhou",
//		Keys:   []osstest.Key{{ID: "ak", Secret: "sk"}},
//	})
//	defer srv.Close()
//	err = srv.CreateBucket("target", osstest.BucketOptions{})
//	client, err := oss.New(srv.URL(), "ak", "sk")
//
// Alibaba's own SDKs are the judges: the tests here drive it with the Go SDK, the lab with the Java
// SDK inside Elasticsearch.
//
// # The S3 face
//
// OSS speaks S3's protocol as well, and so does this server, on a listener of its own
// ([Options].S3, [Server.S3URL]): the same buckets and objects with Signature Version 4, path
// style, S3's listings, errors, multipart rules and ETags (md5(md5s)-N). aws-sdk-go-v2 and rclone
// are its judges. x-oss-meta- here is x-amz-meta- there. As in OSS's own, aws-chunked bodies
// (STREAMING-...) are refused. Checksums that a client sends (x-amz-checksum-*,
// x-amz-content-sha256) are verified but not kept.
//
// dialect.go lists in what the faces differ. s3.go, s3auth.go and s3object.go hold what only S3
// has. All other files serve both.
//
// # Faults
//
// A test makes the service slow, throttled or broken with [Server.Inject], [Server.SetFaults] and
// [Server.SetLimits]. It watches the service with [Server.Usage], [Server.Injected] and
// [Server.Observe], and looks behind it with [Server.Objects], [Server.Read] and [Server.Put].
// [Serve] runs the server in another process, for measurements; [Admin] then does the same over
// HTTP.
//
// # What is not there
//
// Signatures in the URL (presigned), V2 signatures, POST forms, append and symbolic objects,
// versioning, lifecycle, tagging, CORS, policies, RAM, object ACLs, anonymous access to public
// buckets, KMS encryption, restore of archived objects, callbacks, image processing, TLS for OSS's
// own face. A call that the server doesn't know is answered with 501 NotImplemented, never with
// success. Whatever the real service decides by its own state has no counterpart here but the
// injected faults: which partition throttles, how consistent a listing is after a fail-over.
package osstest
