package coresim

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"airegw/testharness/sim"
)

const (
	pushShards = 4
	pushQueue  = 1024
	// The feed heals what a push did not bring, so giving up early is right:
	// orders behind must not wait for a gateway that is down. These waits are
	// about the network, hence in the machine's time.
	pushTimeout = 5 * time.Second
)

var pushWaits = []time.Duration{50 * time.Millisecond, 250 * time.Millisecond, time.Second}

// PushCounts says what became of pushes since the start of this process.
type PushCounts struct {
	Sent     int64 `json:"sent"`     // attempts
	Taken    int64 `json:"taken"`    // answered 204
	GivenUp  int64 `json:"given_up"` // left to the feed after the last attempt
	Overflow int64 `json:"overflow"` // left to the feed because too many waited
	Pending  int64 `json:"pending"`  // waiting or under way
}

// pusher sends events to the gateways: in order inside an order, orders beside
// each other.
type pusher struct {
	s      *Sim
	queues [pushShards]chan *heldEvent

	sent, taken, givenUp, overflow, pending atomic.Int64

	mu      sync.Mutex
	clients map[string]*http.Client
}

func newPusher(s *Sim) *pusher {
	p := &pusher{s: s, clients: map[string]*http.Client{}}
	for i := range p.queues {
		p.queues[i] = make(chan *heldEvent, pushQueue)
	}
	return p
}

func (p *pusher) start() {
	for _, queue := range p.queues {
		p.s.work.Go(func() { p.run(queue) })
	}
}

// add queues an event; it never waits. The caller holds the core's mu, so that
// the order of the queue is the order of the feed.
func (p *pusher) add(e *heldEvent) {
	g := p.s.gateways[e.order.client]
	if g == nil || g.PushURL == "" {
		return
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(e.OrderKey))
	p.pending.Add(1)
	select {
	case p.queues[h.Sum32()%pushShards] <- e:
	default:
		p.pending.Add(-1)
		p.overflow.Add(1)
	}
}

func (p *pusher) run(queue chan *heldEvent) {
	late := map[string]*heldEvent{} // events that let the next one pass
	for {
		select {
		case <-p.s.ctx.Done():
			return
		case e := <-queue:
			p.one(e, late)
			p.pending.Add(-1)
		}
	}
}

func (p *pusher) one(e *heldEvent, late map[string]*heldEvent) {
	faults := p.s.faults
	if faults.Fires(FaultDropPush, "push", e.OrderKey) {
		return
	}
	before := late[e.OrderKey]
	if before == nil && faults.Fires(FaultReorderPush, "push", e.OrderKey) {
		late[e.OrderKey] = e
		return
	}
	p.deliver(e, "")
	if before != nil {
		delete(late, e.OrderKey)
		p.deliver(before, FaultReorderPush)
	}
	if faults.Fires(FaultDuplicatePush, "push", e.OrderKey) {
		p.deliver(e, FaultDuplicatePush)
	}
}

// deliver tries until taken or given up.
func (p *pusher) deliver(e *heldEvent, fault string) {
	if p.s.journal.Flush() != nil {
		return
	}
	for attempt := 0; ; attempt++ {
		err := p.send(e, fault)
		if err == nil {
			p.taken.Add(1)
			return
		}
		if attempt == len(pushWaits) {
			p.givenUp.Add(1)
			p.s.log.Info("core: a push was given up, the feed has it", "event", e.EventID, "error", err)
			return
		}
		wait := time.NewTimer(pushWaits[attempt])
		select {
		case <-wait.C:
		case <-p.s.ctx.Done():
			wait.Stop()
			return
		}
	}
}

func (p *pusher) send(e *heldEvent, fault string) error {
	p.s.mu.Lock()
	g := p.s.gateways[e.order.client].Gateway
	p.s.mu.Unlock()
	client, err := p.client(g)
	if err != nil {
		return err
	}
	text, err := p.s.seal(typEvent, g.ID, "", e.Event, p.s.key, 0)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.s.ctx, pushTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(g.PushURL, "/")+"/core/v1/events", bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	r.Header.Set("Content-Type", "application/jose")
	if fault != "" {
		sim.Mark(r.Header, fault)
	}
	p.sent.Add(1)
	resp, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<16))
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("push: the gateway answered %d, not 204", resp.StatusCode)
	}
	return nil
}

// client is kept per gateway, for its connections.
func (p *pusher) client(g Gateway) (*http.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[g.ID]; c != nil {
		return c, nil
	}
	pool := p.s.authority.Pool()
	if g.CAPEM != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(g.CAPEM)) {
			return nil, fmt.Errorf("push: the CA of gateway %s is not PEM", g.ID)
		}
	}
	c := &http.Client{
		Transport: &http.Transport{
			Proxy: nil,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{p.s.pushPair},
			},
			MaxIdleConnsPerHost: pushShards,
			IdleConnTimeout:     30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	p.clients[g.ID] = c
	return c, nil
}

// forget drops the connections of a gateway that was registered anew.
func (p *pusher) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[id]; c != nil {
		c.CloseIdleConnections()
		delete(p.clients, id)
	}
}

func (p *pusher) counts() PushCounts {
	return PushCounts{
		Sent: p.sent.Load(), Taken: p.taken.Load(), GivenUp: p.givenUp.Load(), Overflow: p.overflow.Load(), Pending: p.pending.Load(),
	}
}
