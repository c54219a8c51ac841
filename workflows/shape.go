package workflows

import "go.temporal.io/sdk/workflow"

// shape says which commands a run of Migration gives, and in which order. A run keeps the shape
// with which it began, whatever newer workers know: a migration runs for weeks, and its history has
// to replay. Continue-as-new begins with the newest one.
//
// Who adds, removes or reorders commands adds a shape here, asks for it where the commands differ,
// and records histories of it (make histories). The histories of older shapes stay for ever.
type shape workflow.Version

const (
	// shapeFirst is that of runs which began before there was a guard: the migration itself blocks
	// the source, removes the block and hands over.
	shapeFirst = shape(workflow.DefaultVersion)
	// shapeGuarded has a guard do all three, and tries each index before there is no way back.
	shapeGuarded shape = 1
	// shapeDelta lets only the indices that changed take part in a round, and has proofs made while
	// rounds go on.
	shapeDelta shape = 2
	// shapeAhead copies the final round's snapshot before the cluster says that it has ended.
	shapeAhead shape = 3
	// shapeEarly publishes and restores it before the cluster says so, too.
	shapeEarly shape = 4
	// shapeAsked has the guard's look at the blocked source ask for it.
	shapeAsked shape = 5

	newestShape = shapeAsked
)

// shapeOf fixes the run's shape, or finds in its history which one it has.
func shapeOf(ctx workflow.Context) shape {
	return shape(workflow.GetVersion(ctx, "shape", workflow.Version(shapeFirst), workflow.Version(newestShape)))
}

// guardShape is the same for a run of Guard.
type guardShape workflow.Version

const (
	// guardFirst is that of guards which read the blocks of the source themselves, and remove theirs
	// batch by batch.
	guardFirst = guardShape(workflow.DefaultVersion)
	// guardLean is told the blocks by the activity that asks, which halves what announcing adds to the
	// history, and removes the block from several batches side by side.
	guardLean guardShape = 1
	// guardHooks calls the plan's hooks.
	guardHooks guardShape = 2
)

// guardShapeOf fixes the guard's shape, or finds in its history which one it has.
func guardShapeOf(ctx workflow.Context) guardShape {
	return guardShape(workflow.GetVersion(ctx, "guard", workflow.Version(guardFirst), workflow.Version(guardHooks)))
}

// lean tells whether the guard has the commands of guardLean.
func (s guardShape) lean() bool { return s >= guardLean }

// hooks tells whether the guard calls the plan's hooks.
func (s guardShape) hooks() bool { return s >= guardHooks }

// guarded tells whether the run has the commands that came with the guard.
func (s shape) guarded() bool { return s >= shapeGuarded }

// delta tells whether the run has the commands with which only what changed takes part.
func (s shape) delta() bool { return s >= shapeDelta }

// ahead tells whether the final round's snapshot is copied before it has ended.
func (s shape) ahead() bool { return s >= shapeAhead }

// early tells whether the final round's snapshot is published and restored before it has ended.
func (s shape) early() bool { return s >= shapeEarly }

// asked tells whether the look at the blocked source may ask for the final round's snapshot.
func (s shape) asked() bool { return s >= shapeAsked }
