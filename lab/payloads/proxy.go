package payloads

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path"
	"strings"
	"sync"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/proxy"
	"go.temporal.io/api/workflowservice/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/encoding/gzip" // the SDK compresses its requests
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// largestMessage bounds what the proxy takes, far above what Temporal takes.
const largestMessage = 128 << 20

// Proxy stands before a Temporal server. It refuses each request with a payload above [Largest] and
// remembers what it was. The workers and starters of a lab are processes of their own, which no
// data converter of a test reaches: their requests are looked at instead. All payloads that the
// server has come with a request, so answers pass as they are.
type Proxy struct {
	address  string
	upstream *grpc.ClientConn
	server   *grpc.Server
	served   chan struct{}

	mu       sync.Mutex
	tasks    map[string]string // what the activity tasks under way are, by their tokens
	tooLarge []string
	refused  chan struct{} // closed with the first refusal that nobody has taken
}

// NewProxy starts a proxy on a free port of 127.0.0.1. Upstream is the server's HOST:PORT, which
// may come and go.
func NewProxy(upstream string) (*Proxy, error) {
	retry := backoff.DefaultConfig
	retry.MaxDelay = time.Second // a test that kills Temporal does not wait long for it
	conn, err := grpc.NewClient("passthrough:///"+upstream,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 5 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(largestMessage),
			grpc.MaxCallSendMsgSize(largestMessage)))
	if err != nil {
		return nil, fmt.Errorf("no connection to Temporal at %s: %w", upstream, err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the proxy before Temporal can't listen: %w", err), conn.Close())
	}
	p := &Proxy{
		address: listener.Addr().String(), upstream: conn, served: make(chan struct{}),
		tasks: map[string]string{}, refused: make(chan struct{}),
	}
	p.server = grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(p.handle),
		grpc.MaxRecvMsgSize(largestMessage), grpc.MaxSendMsgSize(largestMessage),
		// The SDK's clients ask more often whether the connection stands than a server permits by
		// default.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}))
	go func() {
		defer close(p.served)
		_ = p.server.Serve(listener) // ends by Close
	}()
	return p, nil
}

// Address is where the proxy listens, HOST:PORT.
func (p *Proxy) Address() string { return p.address }

// Close ends the proxy; requests under way are broken off. Closing twice is fine.
func (p *Proxy) Close() error {
	p.server.Stop()
	<-p.served
	if err := p.upstream.Close(); err != nil && status.Code(err) != codes.Canceled { // closed before
		return err
	}
	return nil
}

// TakeTooLarge returns what was refused since the last call.
func (p *Proxy) TakeTooLarge() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := p.tooLarge
	if len(taken) > 0 {
		p.tooLarge, p.refused = nil, make(chan struct{})
	}
	return taken
}

// Limited returns a context that ends when a payload is refused; its cause says what it was. For
// the refused task stands still, and who waits for its effect would wait for ever.
func (p *Proxy) Limited(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	p.mu.Lock()
	refused := p.refused
	p.mu.Unlock()
	go func() {
		select {
		case <-refused:
			p.mu.Lock()
			defer p.mu.Unlock()
			cancel(fmt.Errorf("the lab refused a request to Temporal: %s", strings.Join(p.tooLarge, "; ")))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// handle passes one call on, of whatever service. All calls of Temporal have one request; health's
// Watch has many answers.
func (p *Proxy) handle(_ any, in grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(in)
	var request rawMessage
	if err := in.RecvMsg(&request); err != nil {
		return err
	}
	if err := p.check(method, request); err != nil {
		return err
	}
	ctx := in.Context()
	if header, ok := metadata.FromIncomingContext(ctx); ok {
		ctx = metadata.NewOutgoingContext(ctx, header)
	}
	out, err := p.upstream.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := out.SendMsg(&request); err != nil && !errors.Is(err, io.EOF) { // after EOF, RecvMsg says why
		return err
	}
	if err := out.CloseSend(); err != nil {
		return err
	}
	if header, err := out.Header(); err == nil {
		if err := in.SetHeader(header); err != nil {
			return err
		}
	}
	for {
		var answer rawMessage
		err := out.RecvMsg(&answer)
		if err != nil {
			in.SetTrailer(out.Trailer())
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err // a status, with its details
		}
		p.remember(method, answer)
		if err := in.SendMsg(&answer); err != nil {
			return err
		}
	}
}

// check refuses a request with a payload that is too large.
func (p *Proxy) check(method string, request rawMessage) error {
	message := decode(method, protoreflect.MethodDescriptor.Input, request)
	if message == nil {
		return nil // another service, which has no payloads
	}
	task := p.task(message)
	return proxy.VisitPayloads(context.Background(), message, proxy.VisitPayloadsOptions{
		Visitor: func(at *proxy.VisitPayloadsContext, payloads []*commonpb.Payload) ([]*commonpb.Payload, error) {
			for _, payload := range payloads {
				if size := len(payload.GetData()); size > Largest {
					problem := fmt.Sprintf("a payload of %d bytes in %s (%s): at most %d are possible", size,
						path.Base(method), strings.Join(append(names(message, at.Parent), task...), ", "), Largest)
					p.refuse(problem)
					return nil, status.Error(codes.InvalidArgument, problem)
				}
			}
			return payloads, nil
		},
	})
}

func (p *Proxy) refuse(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tooLarge = append(p.tooLarge, problem); len(p.tooLarge) == 1 {
		close(p.refused)
	}
}

// remember keeps what an activity task is: its worker answers with the token alone.
func (p *Proxy) remember(method string, answer rawMessage) {
	if path.Base(method) != "PollActivityTaskQueue" {
		return
	}
	message := decode(method, protoreflect.MethodDescriptor.Output, answer)
	poll, ok := message.(*workflowservice.PollActivityTaskQueueResponse)
	if !ok || len(poll.GetTaskToken()) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tasks[string(poll.GetTaskToken())] = fmt.Sprintf("activity %s of %s", poll.GetActivityType().GetName(),
		poll.GetWorkflowExecution().GetWorkflowId())
}

// task says what task of an activity a request is about, if it is about one.
func (p *Proxy) task(request proto.Message) []string {
	about, ok := request.(interface{ GetTaskToken() []byte })
	if !ok {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	task, ok := p.tasks[string(about.GetTaskToken())]
	if !ok {
		return nil
	}
	if _, still := request.(*workflowservice.RecordActivityTaskHeartbeatRequest); !still {
		delete(p.tasks, string(about.GetTaskToken()))
	}
	return []string{task}
}

// names are the names in a request, and in its part that holds the payload: the part's type, and of
// both the types of workflow and activity, the workflow's id, and so on.
func names(request, part proto.Message) []string {
	found := []string{string(part.ProtoReflect().Descriptor().Name())}
	for _, message := range []proto.Message{part, request} {
		message := message.ProtoReflect()
		for _, name := range []protoreflect.Name{
			"workflow_execution", "workflow_id", "workflow_type", "activity_type", "signal_name", "marker_name",
			"activity_id",
		} {
			field := message.Descriptor().Fields().ByName(name)
			if field == nil || !message.Has(field) {
				continue
			}
			text := message.Get(field).String()
			switch value := message.Get(field).Interface().(type) {
			case string:
				text = value
			case protoreflect.Message:
				switch value := value.Interface().(type) {
				case *commonpb.WorkflowExecution:
					text = value.GetWorkflowId()
				case interface{ GetName() string }:
					text = value.GetName()
				}
			}
			found = append(found, strings.ReplaceAll(string(name), "_", " ")+" "+text)
		}
		if part == request {
			break
		}
	}
	return found
}

// decode is a method's request or answer, or nil if the method is not known here.
func decode(method string, which func(protoreflect.MethodDescriptor) protoreflect.MessageDescriptor,
	data rawMessage,
) proto.Message {
	name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
	descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil
	}
	called, ok := descriptor.(protoreflect.MethodDescriptor)
	if !ok {
		return nil
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(which(called).FullName())
	if err != nil {
		return nil
	}
	message := kind.New().Interface()
	if proto.Unmarshal(data, message) != nil {
		return nil
	}
	return message
}

// rawMessage is a message as it is on the wire: what passes is not changed.
type rawMessage []byte

type rawCodec struct{}

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*rawMessage))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*rawMessage) = data.Materialize()
	return nil
}

func (rawCodec) Name() string { return "proto" }
