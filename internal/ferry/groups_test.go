package ferry

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/snapferry/snapferry/internal/objectstore/memory"
	"github.com/snapferry/snapferry/internal/repository"
	"github.com/snapferry/snapferry/internal/repository/repositorytest"
	"github.com/snapferry/snapferry/internal/sides/sidestest"
	"github.com/snapferry/snapferry/migration"
)

// groupName names the snapshot of a group of the last round.
func groupName(n int) string { return migration.GroupSnapshotName("movies", 1, n, n) }

// groups is a world whose last round is cut into groups: movies, logs and books.
type groups struct {
	*world
	later []string
}

func newGroups(t *testing.T, layout repositorytest.Layout, pages Paging) *groups {
	w := newWorld(layout)
	w.pages = pages
	w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2),
		repositorytest.CreateIndex("books", 1), repositorytest.CreateIndex("idle", 1)))
	return &groups{w, []string{groupName(2), groupName(3)}}
}

// take takes a group's snapshot.
func (g *groups) take(n int) string {
	index := []string{"movies", "logs", "books"}[n-1]
	return g.Take(groupName(n), repositorytest.AddSegments(index, 2, 300), repositorytest.Only(index))
}

// request asks for a group's copy.
func (g *groups) request(n int, uuid string) migration.CopyRequest {
	request := g.Request(uuid)
	request.Later = g.later[n-1:]
	return request
}

// rootOf are the bytes of the root in S3.
func (g *groups) rootOf() []byte { return g.Objects()[repository.RootIndexKey(g.Generation())] }

// during runs what happens beside a copy, once, before OSS is asked for the given thing.
func (g *groups) during(moment func(memory.Call) bool, what func()) {
	var once sync.Once
	g.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
		if moment(c) {
			once.Do(what)
		}
		return nil
	}})
}

// moments are when something happens beside a copy of a group.
var moments = map[string]func(memory.Call) bool{
	"at the data":     func(c memory.Call) bool { return c.Op == "Put" && sidestest.IsData(c.Key) },
	"at the metadata": func(c memory.Call) bool { return c.Op == "Put" && !sidestest.IsData(c.Key) },
}

// eachGroups runs a test on each layout, without pages and with.
func eachGroups(t *testing.T, test func(t *testing.T, g *groups)) {
	for name, layout := range sidestest.Layouts {
		for form, pages := range map[string]Paging{"": onePage, " in pages": smallPages} {
			t.Run(name+form, func(t *testing.T) { test(t, newGroups(t, layout, pages)) })
		}
	}
}

// follow copies the groups that are left, and checks that OSS has all in the end.
func (g *groups) follow(t *testing.T, first string, others ...string) {
	t.Helper()
	g.Sink.SetHooks(memory.Hooks{})
	g.Base = first
	for i, uuid := range others {
		result, err := g.Run(t, g.request(i+2, uuid))
		require.NoError(t, err)
		sidestest.RequireReadable(t, g.Sink.Objects())
		g.Base, g.BaseGeneration = uuid, result.Generation
	}
	g.RequirePublished(t, g.Base)
}

// While a group is copied, the snapshots of those that follow are taken: it is published with the
// root that first listed it, and each of them after it with its own.
func TestAGroupIsPublishedWithTheRootThatFirstListedIt(t *testing.T) {
	for name, moment := range moments {
		t.Run(name, func(t *testing.T) {
			eachGroups(t, func(t *testing.T, g *groups) {
				first := g.take(1)
				generation, root := g.Generation(), g.rootOf()
				var second, third string
				g.during(moment, func() { second, third = g.take(2), g.take(3) })
				result, err := g.Run(t, g.request(1, first))
				require.NoError(t, err)
				require.Equal(t, generation, result.Generation)
				require.Equal(t, string(root), string(g.Sink.Objects()[repository.RootIndexKey(generation)]))
				require.EqualValues(t, generation, sidestest.RequireReadable(t, g.Sink.Objects()).Generation)
				for key := range g.Blobs(second) {
					if _, shared := g.Blobs(g.Base)[key]; !shared {
						require.NotContains(t, g.Sink.Objects(), key)
					}
				}
				g.BaseGeneration = result.Generation
				g.follow(t, first, second, third)
			})
		})
	}
}

// A later group whose snapshot failed is in the root as well.
func TestALaterGroupMayFail(t *testing.T) {
	for _, state := range []repository.State{repository.StatePartial, repository.StateFailed} {
		eachGroups(t, func(t *testing.T, g *groups) {
			first := g.take(1)
			generation := g.Generation()
			g.during(moments["at the data"], func() {
				g.Take(groupName(2), repositorytest.Outcome(state), repositorytest.AddSegments("logs", 1, 300),
					repositorytest.Only("logs"))
			})
			result, err := g.Run(t, g.request(1, first))
			require.NoError(t, err)
			require.Equal(t, generation, result.Generation)
			sidestest.RequireReadable(t, g.Sink.Objects())
		})
	}
}

// Whatever else happens in S3 beside our own groups is a change of the repository, also if one of
// our groups is taken after it: the copy begins again with what there is, and all of that is
// complete when it is published.
func TestNothingButOurLaterGroupsPassesTheFence(t *testing.T) {
	for name, meddle := range map[string]func(g *groups){
		"another snapshot": func(g *groups) {
			g.Take("theirs", repositorytest.AddSegments("idle", 1, 300), repositorytest.Only("idle"))
		},
		"a delete": func(g *groups) { g.Delete(roundName(0)) },
		"a snapshot that is gone again": func(g *groups) {
			g.Take("theirs", repositorytest.AddSegments("idle", 1, 300), repositorytest.Only("idle"))
			g.Delete("theirs")
		},
		"our snapshot deleted and taken again": func(g *groups) {
			g.Delete(roundName(0))
			g.Take(roundName(0), repositorytest.Only("idle"))
		},
		"a group that isn't named": func(g *groups) {
			g.Take(groupName(4), repositorytest.AddSegments("idle", 1, 300), repositorytest.Only("idle"))
		},
	} {
		for at, moment := range moments {
			for _, after := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " ", at, ", then our group: ", after), func(t *testing.T) {
					eachGroups(t, func(t *testing.T, g *groups) {
						first := g.take(1)
						g.during(moment, func() {
							meddle(g)
							g.Sync()
							if after {
								g.take(2)
							}
						})
						generation := g.Generation()
						result, err := g.Run(t, g.request(1, first))
						require.NoError(t, err)
						require.Greater(t, result.Generation, generation)
						root := sidestest.RequireReadable(t, g.Sink.Objects())
						require.Equal(t, result.Generation, root.Generation)
						require.Equal(t, string(g.Objects()[repository.RootIndexKey(root.Generation)]),
							string(g.Sink.Objects()[repository.RootIndexKey(root.Generation)]))
					})
				})
			}
		}
	}
}

// The next group is finished before the copy of this one begins, as when its worker died: where the
// root that first listed it is still in S3, that is published. Else the present one is, when both
// groups are complete.
func TestALaterGroupIsFinishedBeforeTheCopyBegins(t *testing.T) {
	for later := 1; later <= 2; later++ {
		t.Run(fmt.Sprint(later), func(t *testing.T) {
			eachGroups(t, func(t *testing.T, g *groups) {
				first := g.take(1)
				generation := g.Generation()
				others := []string{g.take(2)}
				if later == 2 {
					others = append(others, g.take(3))
				}
				_, kept := g.Objects()[repository.RootIndexKey(generation)]
				result, err := g.Run(t, g.request(1, first))
				require.NoError(t, err)
				root := sidestest.RequireReadable(t, g.Sink.Objects())
				if kept {
					require.Equal(t, generation, root.Generation)
				} else {
					require.Equal(t, g.Generation(), root.Generation)
				}
				require.Equal(t, root.Generation, result.Generation)
				g.BaseGeneration = result.Generation
				g.follow(t, first, others...)
			})
		})
	}
}

// A group that is published before the one that it follows includes it. That one's copy finds out,
// whether it begins after that or is under way.
func TestAGroupIsPublishedBeforeTheOneThatItFollows(t *testing.T) {
	for _, underWay := range []bool{false, true} {
		t.Run(fmt.Sprint("under way: ", underWay), func(t *testing.T) {
			eachGroups(t, func(t *testing.T, g *groups) {
				first := g.take(1)
				second := ""
				overtake := func() {
					g.Sink.SetHooks(memory.Hooks{})
					second = g.take(2)
					_, err := g.Run(t, g.request(2, second))
					require.NoError(t, err)
					root := sidestest.RequireReadable(t, g.Sink.Objects())
					_, lists := root.Snapshot(first)
					require.True(t, lists)
				}
				if underWay {
					g.during(moments["at the metadata"], overtake)
				} else {
					overtake()
				}
				result, err := g.Run(t, g.request(1, first))
				require.NoError(t, err)
				require.Equal(t, g.Generation(), result.Generation)
				g.RequirePublished(t, first)
				g.RequirePublished(t, second)
			})
		})
	}
}

// A worker dies at any write while the groups overlap: what OSS lists is whole at every moment, and
// the next attempt ends well.
func TestGroupsCrash(t *testing.T) {
	for _, reached := range []bool{false, true} {
		t.Run(fmt.Sprint("reached: ", reached), func(t *testing.T) {
			eachGroups(t, func(t *testing.T, of *groups) {
				for n := 0; ; n++ {
					g := newGroups(t, of.layout(), of.pages)
					first := g.take(1)
					generation := g.Generation()
					died := g.CrashAt(n, reached)
					second := ""
					taken := sync.OnceFunc(func() { second = g.take(2) })
					g.Source.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
						if sidestest.IsData(c.Key) { // the data of the first group is on its way
							taken()
						}
						return nil
					}})
					result, err := g.Run(t, g.request(1, first))
					g.Source.SetHooks(memory.Hooks{})
					g.Sink.SetHooks(memory.Hooks{})
					sidestest.RequireReadable(t, g.Sink.Objects())
					taken() // if it died before that
					if died() {
						require.Error(t, err)
						result, err = g.Run(t, g.request(1, first))
					} else {
						require.Equal(t, generation, result.Generation)
					}
					require.NoError(t, err)
					sidestest.RequireReadable(t, g.Sink.Objects())
					g.BaseGeneration = result.Generation
					g.follow(t, first, second)
					if !died() {
						require.Greater(t, n, 8)
						return
					}
				}
			})
		})
	}
}

func (g *groups) layout() repositorytest.Layout {
	if _, old := g.Objects()[repository.IncompatibleKey]; old {
		return repositorytest.Layout55
	}
	return repositorytest.Layout710
}

// In a repository of Elasticsearch 2.x all roots have one name: a group is published with the one
// that its copy has read, as long as only our own groups have come since.
func TestMirrorOfGroups(t *testing.T) {
	one, two := groupName(1), groupName(2)
	world := func(t *testing.T) *mirrorWorld {
		w := newMirrorWorld()
		w.Copy(t, w.Take(roundName(0), repositorytest.CreateIndex("movies", 2), repositorytest.CreateIndex("logs", 2)))
		w.Take(one, repositorytest.AddSegments("movies", 2, 300), repositorytest.Only("movies"))
		return w
	}
	second := func(w *mirrorWorld) {
		w.Take(two, repositorytest.AddSegments("logs", 2, 300), repositorytest.Only("logs"))
	}
	request := func(w *mirrorWorld) migration.CopyRequest {
		request := w.Request(one)
		request.Later = []string{two}
		return request
	}
	for name, meddle := range map[string]func(*mirrorWorld){
		"nothing else":     func(*mirrorWorld) {},
		"another snapshot": func(w *mirrorWorld) { w.Take("beside", repositorytest.Only("logs")) },
		"a delete":         func(w *mirrorWorld) { w.Remove(roundName(0)) },
		"our snapshot deleted and taken again": func(w *mirrorWorld) {
			w.Remove(roundName(0))
			w.Take(roundName(0), repositorytest.AddSegments("logs", 1, 100), repositorytest.Only("logs"))
		},
	} {
		for at, moment := range moments {
			t.Run(name+" "+at, func(t *testing.T) {
				w := world(t)
				own := w.LegacyObjects()[repository.LegacyRootKey]
				var once sync.Once
				w.Sink.SetHooks(memory.Hooks{Before: func(c memory.Call) error {
					if moment(c) {
						once.Do(func() { meddle(w); second(w) })
					}
					return nil
				}})
				_, err := w.Run(t, request(w))
				require.NoError(t, err)
				w.Sink.SetHooks(memory.Hooks{})
				sidestest.RequireLegacyReadable(t, w.Sink.Objects())
				root := string(w.Sink.Objects()[repository.LegacyRootKey])
				require.Equal(t, name == "nothing else", root == string(own), root)
				w.Base = one
				w.Copy(t, two)
			})
		}
	}
	t.Run("finished before the copy begins", func(t *testing.T) {
		w := world(t)
		second(w)
		_, err := w.Run(t, request(w))
		require.NoError(t, err)
		w.RequirePublished(t, two)
	})
}
