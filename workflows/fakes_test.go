package workflows

import (
	"context"
	"sync"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
)

// fakes stand in for activities: they count their calls, and run hooks before and after them.
type fakes struct {
	mu    sync.Mutex
	calls []string
	n     map[string]int
	// on runs when the activity of that name is called for the nth time (from 1); an error it
	// returns is the activity's.
	on map[string]func(n int) error
	// after runs when that call has taken effect but not yet returned. The test environment doesn't
	// wait for cancelled activities, as the workflow asks for: what a test does in the middle of
	// one, it does here, or the effect of an activity that was given up could come after those of
	// its successors.
	after map[string]func(n int)
}

func newFakes() *fakes {
	return &fakes{n: map[string]int{}, on: map[string]func(int) error{}, after: map[string]func(int){}}
}

// serve makes a fake known under an activity's name.
func serve[I, O any](env *testsuite.TestWorkflowEnvironment, f *fakes, name string, fake func(I) (O, error)) {
	env.RegisterActivityWithOptions(func(_ context.Context, in I) (out O, err error) {
		err = f.step(name, func() error {
			out, err = fake(in)
			return err
		})
		return out, err
	}, activity.RegisterOptions{Name: name})
}

// step is a call of an activity: do has its effect, under the lock and between its hooks.
func (f *fakes) step(name string, do func() error) error {
	n, hook, after := f.count(name)
	if hook != nil {
		if err := hook(n); err != nil {
			return err
		}
	}
	f.mu.Lock()
	err := do()
	f.mu.Unlock()
	if after != nil {
		after(n)
	}
	return err
}

// count notes a call, and gives its number and hooks.
func (f *fakes) count(name string) (n int, hook func(int) error, after func(int)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	f.n[name]++
	return f.n[name], f.on[name], f.after[name]
}

// unlocked does something that takes the lock, which is held.
func (f *fakes) unlocked(do func()) {
	f.mu.Unlock()
	defer f.mu.Lock()
	do()
}
