package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/serviceful/serviceful/operator/internal/dead"
)

func TestChoose(t *testing.T) {
	tests := map[string]struct {
		args  []string
		there bool // a data folder
		want  system
	}{
		"a data folder":            {nil, true, laptop},
		"none":                     {nil, false, cluster},
		"a data folder, named":     {[]string{"--data=x"}, false, laptop},
		"a context":                {[]string{"--context=mine"}, true, cluster},
		"a kubeconfig":             {[]string{"--kubeconfig=x"}, true, cluster},
		"both of a cluster":        {[]string{"--kubeconfig=x", "--context=mine"}, true, cluster},
		"NATS":                     {[]string{"--nats=nats://x"}, true, direct},
		"two":                      {[]string{"--nats=nats://x", "--context=mine"}, true, ""},
		"the laptop and a cluster": {[]string{"--data=x", "--context=mine"}, true, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var r reachFlags
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			r.add(f)
			if err := f.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			r.dataGiven = f.Changed("data")
			if got, err := r.choose(test.there); got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestSelection(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := map[string]struct {
		args string
		ids  []string
		want string // in the error; "" for none
	}{
		"nothing":            {"", nil, "say which"},
		"all":                {"--all", nil, ""},
		"all of a namespace": {"--all -n coop", nil, ""},
		"only a namespace":   {"-n coop", nil, "say which"},
		"a function":         {"--function offers", nil, ""},
		"a time":             {"--since 1h", nil, ""},
		"no time":            {"--since soon", nil, "--since: "},
		"times":              {"--since 1h --until 2h", nil, "nothing is since"},
		"ids":                {"", []string{"coop/1", "coop/2"}, ""},
		"no id":              {"", []string{"offers"}, "not the id"},
		"ids and a function": {"--function offers", []string{"coop/1"}, "not both"},
		"ids and all":        {"--all", []string{"coop/1"}, "not both"},
		"an unknown reason":  {"--reason Bored", nil, "there is no reason"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var s selection
			f := pflag.NewFlagSet("", pflag.ContinueOnError)
			s.add(f)
			s.addAll(f)
			if err := f.Parse(strings.Fields(test.args)); err != nil {
				t.Fatal(err)
			}
			err := s.resolve(test.ids, now)
			if err == nil {
				err = s.meant()
			}
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestNewest(t *testing.T) {
	for limit, want := range map[int]string{0: "9876543210", 3: "987", 20: "9876543210"} {
		n := newest{limit: limit}
		for _, age := range []int{3, 0, 9, 1, 7, 5, 2, 8, 6, 4} {
			var l dead.Letter
			l.ID.Sequence = uint64(age)
			l.Death.Died = time.Unix(int64(age), 0)
			n.add(l)
		}
		got := ""
		for _, l := range n.sorted() {
			got += string(rune('0' + l.ID.Sequence))
		}
		if got != want || n.seen != 10 {
			t.Errorf("the newest %d are %s of %d, want %s", limit, got, n.seen, want)
		}
	}
}

func TestPace(t *testing.T) {
	failure := errors.New("no")
	tests := map[string]struct {
		stopAt, failAt int // before and in which call; -1: none
		want           int
		err            error
	}{
		"to the end":  {-1, -1, 5, nil},
		"interrupted": {2, -1, 2, nil},
		"failed":      {-1, 3, 3, failure},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			var out bytes.Buffer
			calls := 0
			done, err := pace{out: &out}.each(ctx, 5, func(inner context.Context, i int) error {
				if i != calls {
					t.Errorf("called for %d after %d", i, calls)
				}
				calls++
				if i == test.failAt {
					return failure
				}
				if i == test.stopAt-1 {
					stop()
				}
				if inner.Err() != nil {
					t.Error("a message was interrupted")
				}
				return nil
			})
			if done != test.want || !errors.Is(err, test.err) {
				t.Errorf("done %d, %v, want %d, %v", done, err, test.want, test.err)
			}
		})
	}
}

func TestHistoryOptions(t *testing.T) {
	now := time.UnixMilli(1_767_323_045_678)
	dice := func(uint32) uint32 { return 7 }
	first := historyOptions{namespace: "coop", trigger: "offers/welcome", from: "2h", to: "1h"}
	h, err := first.resolve(now, dice)
	if err != nil || h.resumed || !h.from.Equal(now.Add(-2*time.Hour)) || !h.to.Equal(now.Add(-time.Hour)) || h.Function.String() != "coop/offers" || h.Trigger != "welcome" {
		t.Fatalf("got %+v, %v", h, err)
	}
	again := first
	again.resume = h.ID
	r, err := again.resolve(now.Add(24*time.Hour), dice)
	if err != nil || !r.resumed || r.ID != h.ID || !r.from.Equal(h.from) || !r.to.Equal(h.to) {
		t.Errorf("resumed a day later it is %+v, %v, at first %+v", r, err, h)
	}
	for want, change := range map[string]func(*historyOptions){
		"are needed":             func(o *historyOptions) { o.from = "" },
		"--trigger: ":            func(o *historyOptions) { o.trigger = "offers" },
		"--from: ":               func(o *historyOptions) { o.from = "soon" },
		"--to: ":                 func(o *historyOptions) { o.to = "soon" },
		"nothing is from":        func(o *historyOptions) { o.to = "3h" },
		"--type: ":               func(o *historyOptions) { o.types = []string{"a..b"} },
		"--rate ":                func(o *historyOptions) { o.rate = -1 },
		`"x" is not the id of a`: func(o *historyOptions) { o.resume = "x" },
	} {
		o := first
		change(&o)
		if _, err := o.resolve(now, dice); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want one with %q", err, want)
		}
	}
}

func FuzzBeganAt(f *testing.F) {
	for _, s := range []string{"", "x", "mjw1v5d8x7", "mjw1v5d8x-", "-jw1v5d8x7", "zzzzzzzzx0", "mjw1v5d8x.*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		at, err := beganAt(id)
		if err != nil {
			return
		}
		if at.Before(time.UnixMilli(0)) || strings.ContainsAny(id, ".-*> ") {
			t.Errorf("%q began at %v", id, at)
		}
	})
}

func TestCounted(t *testing.T) {
	for n, want := range map[int]string{0: "0 dead letters", 1: "1 dead letter", 2: "2 dead letters"} {
		if got := counted(n, "dead letter"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
