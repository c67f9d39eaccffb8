package process

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

func BenchmarkWarmAcquire(b *testing.B) {
	w := newWorld(b)
	w.Set(offers, program("serve"))
	w.acquire(b, offers).Release()
	ctx := b.Context()
	b.ReportAllocs()
	b.SetParallelism(100)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lease, err := w.Acquire(ctx, offers)
			if err != nil {
				b.Fatal(err)
			}
			lease.Release()
		}
	})
}

// BenchmarkFirstCall is one start of a function at zero; its yardstick starts the
// same binary and waits for its port.
func BenchmarkFirstCall(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		w := newWorld(b)
		for b.Loop() {
			port, err := w.reservePort()
			if err != nil {
				b.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "FUNCTION=serve", "PORT="+strconv.Itoa(port))
			if err := cmd.Start(); err != nil {
				b.Fatal(err)
			}
			for {
				if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
					_ = c.Close()
					break
				}
				time.Sleep(time.Millisecond)
			}
			b.StopTimer()
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			b.StartTimer()
		}
	})
	b.Run("acquire", func(b *testing.B) {
		w := newWorld(b)
		for b.Loop() {
			b.StopTimer()
			p := program("serve")
			p.Revision = strconv.FormatInt(w.issued.Load(), 10)
			w.Set(offers, p)
			b.StartTimer()
			w.acquire(b, offers).Release()
		}
	})
}
