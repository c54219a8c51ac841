package migration

// descriptions say in a few sentences what each field of a plan is for. They are what editors show
// beside a field (docs/plan.schema.json); docs/plan.md adds the reasons. The paths are those of
// Problem.Field. A test holds them to the fields that there are.
var descriptions = map[string]string{
	"name": "Names the migration: its workflow id is migration/NAME. Up to 63 lower-case letters, digits and " +
		"hyphens.",
	"indices": "Names of indices, and patterns with *. Each round resolves the patterns again. " +
		"A pattern never matches a name that begins with a dot, nor an alias: write such names in full. " +
		"An entry that begins with - leaves out what patterns match.",
	"rehearsal": "Try the plan instead of carrying it out, as starter start --rehearse does. " +
		"It uses throw-away names on the target, blocks no writes and removes what it has made.",

	"source":          "The Amazon Elasticsearch Service domain that the indices leave.",
	"source.endpoint": "URL of the domain, without a path.",
	"source.caFile": "PEM file of the worker with the certificate authorities to trust for this cluster, instead " +
		"of the system's. It lies below the worker's folder of secrets.",
	"source.auth": "How requests to the domain are authenticated.",
	"source.auth.type": "sigv4 signs with the credentials of the worker's AWS environment. basic takes user " +
		"and password.",
	"source.auth.region":   "Region of the domain, for sigv4. Default: source.repository.region.",
	"source.auth.user":     "User name, for basic.",
	"source.auth.password": "Reference to the password, for basic.",

	"source.warm": "What becomes of indices in Amazon's UltraWarm or cold storage. refuse: preflight and the " +
		"freeze refuse them. leaveOut: they stay on the source. include: treat them like all others, for a source " +
		"that is not Amazon's. Default: refuse.",

	"source.repository":        "The snapshot repository on S3 that the domain writes.",
	"source.repository.bucket": "S3 bucket that the domain writes snapshots to: the name alone.",
	"source.repository.region": "Region of the bucket.",
	"source.repository.endpoint": "Host to register instead of the region. For us-east-1 snapferry " +
		"registers s3.amazonaws.com.",
	"source.repository.roleArn": "IAM role that the domain assumes. `starter iam -f PLAN` prints " +
		"its policies.",
	"source.repository.basePath": "Folder in the bucket. Each run adds a folder of its own below it. " +
		"Default: snapferry/NAME.",
	"source.repository.serverSideEncryption": "Ask S3 to encrypt what the domain writes (SSE-S3).",
	"source.repository.settings": "More settings of the repository, passed on unchanged. snapferry " +
		"refuses those that it sets.",
	"source.repository.reader": "How the copy reads S3, if not from Amazon's own endpoints.",
	"source.repository.reader.endpoint": "URL of an S3-compatible endpoint. Default: Amazon's endpoint for " +
		"the region.",
	"source.repository.reader.pathStyle": "Address the bucket in the path instead of the host name.",

	"source.repository.reader.caFile": "PEM file of the worker with the certificate authorities to trust for " +
		"this endpoint.",

	"target":          "The Alibaba Cloud Elasticsearch cluster that the indices go to.",
	"target.endpoint": "URL of the cluster, without a path.",
	"target.caFile": "PEM file of the worker with the certificate authorities to trust for this cluster, instead " +
		"of the system's. It lies below the worker's folder of secrets.",
	"target.auth": "How requests to the cluster are authenticated.",
	"target.auth.type": "basic takes user and password. sigv4 signs with the credentials of the worker's AWS " +
		"environment.",
	"target.auth.region":   "Region for sigv4.",
	"target.auth.user":     "User name, for basic: usually elastic.",
	"target.auth.password": "Reference to the password, for basic.",

	"target.repository":          "The copy of the source repository on OSS, which the target reads.",
	"target.repository.bucket":   "OSS bucket, of class Standard and in the cluster's region: the name alone.",
	"target.repository.region":   "Region of the bucket, without oss-.",
	"target.repository.endpoint": "URL of OSS as the cluster reaches it: usually the internal endpoint.",
	"target.repository.accessKeyId": "Reference to the id of the key with which the cluster reads OSS. Use a key " +
		"that can only read.",
	"target.repository.secretAccessKey": "Reference to the secret of that key. Elasticsearch 5.x shows it to " +
		"anyone who may read _snapshot: delete the key after the migration.",
	"target.repository.basePath": "Folder in the OSS bucket. Default: source.repository.basePath.",
	"target.repository.createBucket": "Create the bucket, private and of class Standard, if there is " +
		"none.",
	"target.repository.settings": "More settings of the repository, passed on unchanged. snapferry " +
		"refuses those that it sets.",
	"target.repository.writer": "How the worker writes OSS.",
	"target.repository.writer.endpoint": "URL of OSS as the worker reaches it: usually the public or the " +
		"accelerate endpoint.",
	"target.repository.writer.accessKeyId":     "Reference to the id of the key with which the worker writes OSS.",
	"target.repository.writer.accessKeySecret": "Reference to the secret of that key.",
	"target.repository.writer.securityToken": "Reference to the token of a temporary key. Give such keys as files " +
		"that somebody renews.",

	"target.repository.writer.caFile": "PEM file of the worker with the certificate authorities to trust for " +
		"this endpoint.",

	"rounds":          "When incremental rounds run.",
	"rounds.interval": "Time from the end of a round to the start of the next, at least 1s.",
	"rounds.until":    "When the rounds are close enough. Until then they run without the interval.",
	"rounds.until.window": "Target length of the frozen window. Rounds run without pause until the predicted " +
		"window is that short, or until a round shortens it by less than 10 %.",

	"copy":             "Limits of the copy from S3 to OSS.",
	"copy.concurrency": "Requests that one copy activity runs at the same time.",
	"copy.pages":       "Activities that copy one large delta at the same time, on all workers together.",
	"copy.bandwidth": "The most that all copies together read from S3, such as 200MB/s. " +
		"The signal bandwidth changes it while the migration runs.",

	"throttles":        "Bytes per second that each node may write into a snapshot or restore from one.",
	"throttles.rounds": "Limits during the baseline and the rounds. Default: keep.",
	"throttles.window": "Limits while writes are blocked. snapferry restores the clusters' own limits afterwards.",
	"throttles.*.snapshot": "max_snapshot_bytes_per_sec of the source's repository: a size such as 80mb, " +
		"unlimited, or keep for what the cluster has.",
	"throttles.*.restore": "max_restore_bytes_per_sec of the target's repository: a size such as 80mb, " +
		"unlimited, or keep for what the cluster has.",
	"throttles.*.recovery": "indices.recovery.max_bytes_per_sec of a target from 7.9 on: a size such as 80mb, " +
		"unlimited, or keep for what the cluster has.",

	"freeze": "How writes to the source are stopped.",
	"freeze.maxDuration": "If nobody sends cutover within this time, snapferry removes the write block and the " +
		"rounds go on. At least 10s.",
	"freeze.standstillTimeout": "How long write counters may still move after the block before the migration " +
		"needs attention. Default: 2m, or half of maxDuration if that is less.",
	"freeze.slotWait": "How long the block may wait for a moment in which no snapshot runs and no automatic one " +
		"is due.",
	"freeze.hotRound": "Whether one more round runs before the block. auto: if snapshot, copy and restore " +
		"of what was written since the last round would take longer than hotRoundAbove.",
	"freeze.hotRoundAbove": "auto runs a hot round if snapshot, copy and restore of what was written are predicted " +
		"to take longer than this together. At least 1s.",
	"rounds.fullEvery": "Every so many rounds, one takes all indices, and not only those that changed. 0: none but " +
		"the baseline.",
	"freeze.pipeline": "When the final round is cut into groups of indices whose snapshots, copies and restores " +
		"overlap.",
	"freeze.pipeline.from": "The predicted window from which on the final round is cut into groups, if that makes " +
		"it shorter.",
	"freeze.pipeline.groups": "How many groups: 0 is as many as are predicted to be best, 1 turns it off. More are " +
		"cut even if nothing is gained.",
	"freeze.auto": "Freeze without a person once the predicted window is as short as rounds.until.window. " +
		"It happens once. Only a person sends cutover.",

	"restore":                "How snapshots are restored into the target.",
	"restore.replicas":       "Replicas on the target during the migration. The cutover sets the source's number.",
	"restore.excludeAliases": "Leave the source's aliases behind.",
	"restore.ignoreSettings": "Index settings that are not restored. index.blocks.* and " +
		"index.routing.allocation.* never are.",
	"restore.deletedIndices": "What becomes of the target's copy of an index that was deleted on the source. keep " +
		"leaves it there without aliases, delete deletes it. Default: keep.",

	"verify": "How the target is proven equal to the frozen source.",
	"verify.checksum": "versions: document counts, and type, id, routing and version of every document, " +
		"compared before the freeze as far as possible. versions-in-window: the same, all of it while writes are " +
		"blocked. none: counts only.",
	"verify.rate": "Documents a second that the comparisons before the freeze read together, on each cluster.",

	"cutover":                       "What happens at the handover.",
	"cutover.webhook":               "Called with the report as JSON once the target takes writes.",
	"cutover.webhook.url":           "URL of the receiver, or a reference to it if it holds a secret.",
	"cutover.webhook.authorization": "Reference to the value of the Authorization header.",
	"cutover.keepRepositories":      "Leave both repositories registered after the cutover.",

	"hooks": "Steps of your own around the frozen window. A rehearsal calls none.",
	"hooks.beforeBlock": "Called before writes are blocked: stop the writers. If one refuses or fails, nothing is " +
		"blocked, and the rounds go on.",
	"hooks.afterBlock": "Called once writes are blocked. If one refuses or fails, the block is removed, and the " +
		"rounds go on.",
	"hooks.beforeHandover": "Called after cutover was sent, before the handover begins. If one refuses or fails, a " +
		"person decides until freeze.maxDuration has passed.",
	"hooks.afterHandover": "Called once the target takes writes: DNS, an alias, a load balancer. If one fails, a " +
		"person decides.",
	"hooks.afterThaw": "Called by the guard whenever a frozen window ends without a handover: start the writers " +
		"again.",
	"hooks.*.name": "Name of the hook, one of its own among those of its moment.",
	"hooks.*.http": "A POST with the input as JSON. 2xx goes on, 408, 429 and 5xx are tried again, any other answer " +
		"refuses.",
	"hooks.*.http.url":           "URL of the receiver, or a reference to it if it holds a secret.",
	"hooks.*.http.headers":       "Headers by name. A value may be a reference, and a secret must be one.",
	"hooks.*.http.signingSecret": "Reference to the secret that signs the requests (HMAC-SHA256).",
	"hooks.*.activity":           "A Temporal activity on a worker of your own.",
	"hooks.*.activity.type":      "Name under which the activity is registered.",
	"hooks.*.activity.taskQueue": "Task queue of the worker, in the migration's namespace.",
	"hooks.*.workflow":           "A Temporal workflow on a worker of your own.",
	"hooks.*.workflow.type":      "Name under which the workflow is registered.",
	"hooks.*.workflow.taskQueue": "Task queue of the worker, in the migration's namespace.",
	"hooks.*.timeout":            "Time limit of one attempt, at most 1h. Default: 1m, or half of freeze.maxDuration.",
	"hooks.*.attempts":           "How many attempts a call has, at most 10. Default: 3.",
	"notify":                     "Whom the migration tells of what happens to it.",
	"notify.receivers": "Each receiver is told of the events that it wants: a webhook, a chat room or people with " +
		"e-mail. `starter notify test` tries them.",
	"notify.receivers[].name": "Names the receiver in the status. Each has another name.",
	"notify.receivers[].kind": "webhook gets a documented JSON; slack, dingtalk, feishu and wecom get what these " +
		"chats take; email is sent by SMTP.",
	"notify.receivers[].events":        "The events that the receiver wants. Default: all.",
	"notify.receivers[].url":           "Reference to the URL of the webhook, for all kinds but email.",
	"notify.receivers[].authorization": "Reference to the value of the Authorization header, for kind webhook.",
	"notify.receivers[].signingSecret": "Reference to the secret that signs each message, for the kinds webhook, " +
		"dingtalk and feishu.",
	"notify.receivers[].caFile": "PEM file of the worker with the certificate authorities to trust for this " +
		"receiver, instead of the system's.",
	"notify.receivers[].email":        "How mail is sent, for kind email.",
	"notify.receivers[].email.server": "Host and port of the SMTP server.",
	"notify.receivers[].email.tls": "starttls: encrypt the connection before anything is sent. implicit: encrypted " +
		"from the start, usually port 465. none: not encrypted, without user and password. Default: starttls.",
	"notify.receivers[].email.user":     "User name at the SMTP server, if it asks for one.",
	"notify.receivers[].email.password": "Reference to the password at the SMTP server.",
	"notify.receivers[].email.from":     "Address of the sender.",
	"notify.receivers[].email.to":       "Addresses of the receivers.",
	"notify.beforeExpiry": "How long before the end of freeze.maxDuration windowExpiring is told. Default: a quarter " +
		"of freeze.maxDuration, 30m at most.",
}
