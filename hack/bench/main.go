// Command bench measures what Serviceful must reach, each number beside a
// yardstick taken in the same run on the same machine:
//
//	./hack/bench/run [-require] [-binary serviceful] [-data folder] [name...]
//
//	events-throughput  64 senders POST 256 B events to the services door; each is stored by JetStream on disk, dispatched and
//	                   answered by a trivial function. The rate from the first send to the last arrival.
//	                   Yardstick: the same senders POST the same requests to that same process, with nothing between.
//	events-latency     The same path at 500 events/s, sent on schedule whatever came of earlier ones: from before the POST is
//	                   sent until the function has the event. The yardstick, the same sent directly, shows how quiet the machine is.
//	events-batched     10,000 events, stored by JetStream on disk while a trivial function holds its answers, are delivered to it up to
//	                   100 in a call. The rate from its release to the last arrival, so that publishing is no part of it. Yardstick: as many
//	                   events, one in a call. Of a batch the function reads no more than when each event was sent.
//	events-ordered     10,000 events of 1,000 keys, each with 1 ms of work, 128 at once. Yardstick: the same without order.
//	                   Then 200,000 more while the function is killed every second; how many calls began out of order.
//	failing            100 events/s to one function, and 100 good ones to the trigger of another at which 10,000 events fail: the p99 of
//	                   each stream, from when each of the 10,000 was called once.
//	                   Yardstick: the same streams without the 10,000. And how many calls failed in a second meanwhile.
//	filtered           Events of 99 types, beside a function that subscribes to a 100th: how many of them the dispatcher settled, and
//	                   the CPU time that each takes more than without the subscriber, the NATS server's included.
//	                   Yardstick: the CPU time that an event of its own type takes more.
//	long               10,000 asynchronous calls that take longer than a message may be without a sign of life, 200 at once, to a function
//	                   that was at zero: how many were made twice. Then 2,000 while it is killed five times, every 6 s.
//	sync               GET through the gateway to a warm function: the rate of 64 senders, and the median that one sender waits longer.
//	                   Yardstick: the same calls made directly.
//	cold               The first call to a function at zero, after its process was killed.
//	                   Yardstick: starting the same binary and connecting to its port every millisecond until it listens.
//	schedules          10,000 schedules are held and 45 of them are due each second: from a time to the function's having it, never
//	                   before. No yardstick: the target is a time.
//	start              `serviceful dev` on the reference functions, already built, from its start until GET /readyz is 200; and its
//	                   resident memory once it sat idle with the functions at zero.
//	import             A CSV of 50,000 offers, from the PUT until all are in the catalogue; and how the memory of the function grew
//	                   from a file of 5,000.
//	compile            wiring.Compile of 10,000 functions with 3 triggers each. Yardstick: its time for each of 1,000 functions.
//
// The set "cluster" needs the cluster of hack/cluster; ./hack/bench/run installs Serviceful on it first:
//
//	cluster-cold       The first call through the gateway to a function at zero, of one that uses no services and of one that does.
//	                   Yardstick: a bare pod of the same image, from its creation to its first answer.
//	cluster-many       From `kubectl apply` of 100 functions until all are ready; and the resident memory of the three programs once
//	                   these sat idle at zero. Yardstick: 100 plain Knative Services of the same image with the same settings.
//	cluster-events     events-throughput in the cluster, from this machine. Yardstick: the laptop's, of the same senders.
//
// Yardstick and measurement take turns, and the medians of their turns are
// compared. Each benchmark takes at most a minute, those of failing events,
// of order and of long calls and in the cluster several. It prints a line for each
// number: what, ours, the yardstick's, the ratio or value that counts, the target, and met or MISSED. A missed target fails
// the run only with -require.
//
// The benchmarks are black boxes: they build the command, run `serviceful dev`
// on a data folder of their own and speak HTTP to it. They import nothing of
// the platform. The data folder should be on a disk: -data says where. To
// compare two versions, build both and give each with -binary.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// benchmark is one thing that can be measured.
type benchmark struct {
	name, about string
	set         string // by which it is chosen; those of "" when none is named
	run         func(context.Context, *workshop) ([]result, error)
}

const clusterSet = "cluster"

var benchmarks = []benchmark{
	{"events-throughput", "events end to end, saturated", "", eventsThroughput},
	{"events-latency", "events end to end at 500/s", "", eventsLatency},
	{"events-batched", "events in calls of 100 against one in a call", "", eventsBatched},
	{"events-ordered", "events in the order of their keys against unordered ones", "", eventsOrdered},
	{"failing", "healthy events beside 10,000 that keep failing", "", failingBeside},
	{"filtered", "what events cost a subscriber of another type", "", filtered},
	{"long", "calls that take longer than a message's lease", "", longMessages},
	{"sync", "a sync call to a warm function", "", syncCalls},
	{"cold", "the first call to a function at zero", "", coldCall},
	{"schedules", "calls of schedules, 10,000 of them held", "", schedules},
	{"start", "serviceful dev from start to ready, and its idle memory", "", startAndMemory},
	{"import", "50,000 offers from a file", "", importOffers},
	{"compile", "wiring 10,000 functions", "", compile},
	{"cluster-cold", "the first call to a function at zero in the cluster", clusterSet, clusterCold},
	{"cluster-many", "100 functions in the cluster, and the programs' idle memory", clusterSet, clusterMany},
	{"cluster-events", "events end to end in the cluster, saturated", clusterSet, clusterEvents},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	list := flags.Bool("list", false, "list the benchmarks")
	require := flags.Bool("require", false, "fail when a target is missed")
	binary := flags.String("binary", "", "measure this serviceful instead of building one")
	data := flags.String("data", os.TempDir(), "folder in which a data folder is made and removed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *list {
		for _, b := range benchmarks {
			fmt.Printf("%-18s %s\n", b.name, b.about)
		}
		return nil
	}
	chosen, err := choose(flags.Args())
	if err != nil {
		return err
	}
	w, err := newWorkshop(*data, *binary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.clear()) }()
	missed := 0
	for _, b := range chosen {
		w.data = filepath.Join(w.dir, b.name)
		results, err := b.run(ctx, w)
		if err != nil {
			return fmt.Errorf("measuring %s: %w", b.name, err)
		}
		for _, r := range results {
			fmt.Println(r)
			if !r.met() {
				missed++
			}
		}
	}
	if *require && missed > 0 {
		return fmt.Errorf("%d targets were missed", missed)
	}
	return nil
}

// choose finds the benchmarks of the given names and sets; of none, those of the
// laptop.
func choose(names []string) ([]benchmark, error) {
	if len(names) == 0 {
		names = []string{""}
	}
	var chosen []benchmark
	for _, name := range names {
		before := len(chosen)
		for _, b := range benchmarks {
			if name == b.name || name == b.set {
				chosen = append(chosen, b)
			}
		}
		if len(chosen) == before {
			return nil, fmt.Errorf("there is no benchmark %q: -list shows them", name)
		}
	}
	return chosen, nil
}
