package migration

// The activities that block and unblock the source for a guard. Each takes indices in batches, and
// answers by index: one that refuses keeps none of the others from it.
const (
	// ActivityReadSourceBlocks takes an [IndicesRequest] and returns []SourceIndex.
	ActivityReadSourceBlocks = "ReadSourceBlocks"
	// ActivityBlockSource takes a [BlockRequest] and returns a [BlockResult].
	ActivityBlockSource = "BlockSource"
	// ActivityUnblockSource takes an [UnblockRequest] and returns an [UnblockResult].
	ActivityUnblockSource = "UnblockSource"
)

// SourceIndex is an index of the source as it was found before our block.
type SourceIndex struct {
	Name string `json:"name"`
	// UUID tells the index from another that has its name later.
	UUID string `json:"uuid,omitempty"`
	// Blocks are the index.blocks.* settings that it had of itself, by name. Our own block is never
	// among them.
	Blocks map[string]string `json:"blocks,omitempty"`
}

// BlockRequest asks for our write block on indices whose own blocks are known.
type BlockRequest struct {
	Run
	Indices []SourceIndex `json:"indices"`
}

// BlockResult says what became of each index. Every index of the request is in exactly one of the
// lists.
type BlockResult struct {
	// Blocked take no writes any more: by our block, or by one that they had of themselves as long
	// as it stands. The UUID is that of the index that was blocked, which may be another than the
	// one that was read.
	Blocked []SourceIndex `json:"blocked,omitempty"`
	// Gone were deleted since they were read.
	Gone []string `json:"gone,omitempty"`
	// Refused could not be blocked.
	Refused []Refusal `json:"refused,omitempty"`
}

// UnblockRequest asks for our block to be removed, so that each index has the blocks that it had of
// itself.
type UnblockRequest struct {
	Run
	Indices []SourceIndex `json:"indices"`
}

// UnblockResult is what remained once our block was removed from all others, which was checked.
type UnblockResult struct {
	// Refused are indices from which our block could not be removed, or that refuse writes for
	// another reason which was not there before.
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal is what a cluster answered about one index.
type Refusal struct {
	Index string `json:"index"`
	// Setting is the one that the cluster names; empty if it names none.
	Setting string `json:"setting,omitempty"`
	// Message is a sentence: what was tried, where, and what came back. Remedy says what to do.
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}
