package verdict

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/swoll-recorder/swoll/ringstore"
)

// folded is a history in which each run of the same call is one event, as the kernel side
// folds them.
func folded(h *ringstore.History) *ringstore.History {
	f := *h
	f.Events = nil
	for _, e := range h.Events {
		if n := len(f.Events); n > 0 && e.Kind == ringstore.KindCall && !e.Unfinished && !e.NoEnter {
			first := &f.Events[n-1]
			same := e
			same.Start, same.Duration, same.Seq, same.Run = first.Start, first.Duration, first.Seq, first.Run
			if cmp.Equal(same, *first) {
				run := ringstore.Run{Count: first.Calls() + 1, Last: e.Start + e.Duration, Total: first.Duration + e.Duration}
				if first.Run != nil {
					run.Total = first.Run.Total + e.Duration
				}
				first.Run = &run
				continue
			}
		}
		f.Events = append(f.Events, e)
	}
	return &f
}

// again makes n events of one.
func again(n int, e *ringstore.Event) (all []*ringstore.Event) {
	for range n {
		same := *e
		all = append(all, &same)
	}
	return all
}

// Of a history whose runs are folded the same is told as of one in which each call stands
// by itself; but that one record is the evidence of all.
func TestRuns(t *testing.T) {
	for name, h := range map[string]*ringstore.History{
		"refused again and again": history(ending(1), append(again(14, connect(-111)),
			said("cannot reach the database\n"), leave(1))...),
		"refused, and long ago": history(ending(1), append(append(again(3, connect(-111)),
			again(40, call("getppid", 1))...), leave(1))...),
		"the same words": history(ending(1), append(again(3, said("cannot open /etc/x: retrying\n")),
			open("/etc/x", -2), open("/etc/x", -2), leave(1))...),
		"words without end":     history(ending(1), append(again(300, said("x\n")), leave(1))...),
		"only polls":            history(ending(3), append(again(30, call("poll", 0, 0x1000, 1, 5)), leave(3))...),
		"denied far in between": history(ending(1), append(append([]*ringstore.Event{open("/etc/key", -13)}, again(90, call("getppid", 1))...), leave(1))...),
	} {
		t.Run(name, func(t *testing.T) {
			short := folded(h)
			if len(short.Events) >= len(h.Events) {
				t.Fatal("there is nothing to fold")
			}
			want, got := ExplainHistory(h), ExplainHistory(short)
			type told struct{ Kind, Text, Subject, Confidence string }
			tell := func(v *Verdict) (all []told) {
				for _, c := range v.Claims {
					all = append(all, told{c.Kind, c.Text, c.Subject, string(c.Confidence)})
				}
				return all
			}
			if diff := cmp.Diff(tell(want), tell(got)); diff != "" {
				t.Errorf("claims (-apart +folded):\n%s", diff)
			}
			if want.Summary != got.Summary {
				t.Errorf("apart:  %s\nfolded: %s", want.Summary, got.Summary)
			}
			if len(want.LastWords) != len(got.LastWords) {
				t.Fatalf("last words %v, %v", want.LastWords, got.LastWords)
			}
			for i := range want.LastWords {
				if want.LastWords[i].Text != got.LastWords[i].Text || len(got.LastWords[i].Evidence) == 0 {
					t.Errorf("apart:  %+v\nfolded: %+v", want.LastWords[i], got.LastWords[i])
				}
			}
		})
	}
}
