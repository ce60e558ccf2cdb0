package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bufbuild/protocompile"
	"github.com/jhump/protoreflect/v2/grpcreflect"
	"github.com/jhump/protoreflect/v2/protoresolve"
	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// schemaFlags say where the descriptions of services come from: from files, or else from the server's reflection service.
type schemaFlags struct{ protos, protosets, imports []string }

func (f *schemaFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVar(&f.protos, "proto", nil, "a .proto file that describes the services, instead of the server's reflection; may be repeated")
	flags.StringArrayVar(&f.protosets, "protoset", nil, "a file with an encoded FileDescriptorSet ('protoc --include_imports -o', 'buf build -o'), the same way")
	flags.StringArrayVarP(&f.imports, "import-path", "I", nil, "a folder where imports of --proto files are looked for; may be repeated")
}

func (f *schemaFlags) check() error {
	if len(f.protos) > 0 && len(f.protosets) > 0 {
		return usageError{errors.New("give either --proto or --protoset")}
	}
	if len(f.imports) > 0 && len(f.protos) == 0 {
		return usageError{errors.New("--import-path goes with --proto")}
	}
	return nil
}

// schema describes services and their messages.
type schema struct {
	protoresolve.Resolver
	services func() ([]protoreflect.FullName, error)
	close    func()
}

// load finds the schema. cc may be nil where there are files; ctx bounds questions to the server, and its metadata goes with them.
func (f *schemaFlags) load(ctx context.Context, cc grpc.ClientConnInterface) (*schema, error) {
	var set *protoresolve.Registry
	var err error
	switch {
	case len(f.protos) > 0:
		set, err = compile(ctx, f.protos, f.imports)
	case len(f.protosets) > 0:
		set, err = readProtosets(f.protosets)
	default:
		c := grpcreflect.NewClientAuto(ctx, cc)
		return &schema{Resolver: c.AsResolver(), services: c.ListServices, close: c.Reset}, nil
	}
	if err != nil {
		return nil, err
	}
	return &schema{Resolver: set, services: func() ([]protoreflect.FullName, error) { return servicesIn(set), nil }, close: func() {}}, nil
}

func compile(ctx context.Context, files, imports []string) (*protoresolve.Registry, error) {
	c := protocompile.Compiler{
		Resolver:       protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: imports}),
		SourceInfoMode: protocompile.SourceInfoStandard, // comments, for describe
	}
	compiled, err := c.Compile(ctx, files...)
	if err != nil {
		return nil, err
	}
	set := &protoresolve.Registry{}
	for _, file := range compiled {
		if err := register(set, file); err != nil {
			return nil, err
		}
	}
	return set, nil
}

// register adds a file with all that it imports.
func register(set *protoresolve.Registry, file protoreflect.FileDescriptor) error {
	if _, err := set.FindFileByPath(file.Path()); err == nil {
		return nil
	}
	for i := range file.Imports().Len() {
		if err := register(set, file.Imports().Get(i).FileDescriptor); err != nil {
			return err
		}
	}
	return set.RegisterFile(file)
}

func readProtosets(files []string) (*protoresolve.Registry, error) {
	var all descriptorpb.FileDescriptorSet
	known := map[string]bool{} // sets hold what their files import, so often the same
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var one descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(b, &one); err != nil {
			return nil, fmt.Errorf("%s is no FileDescriptorSet: make it with 'protoc --include_imports --descriptor_set_out=FILE': %w", name, err)
		}
		for _, file := range one.GetFile() {
			if !known[file.GetName()] {
				known[file.GetName()] = true
				all.File = append(all.File, file)
			}
		}
	}
	set, err := protoresolve.FromFileDescriptorSet(&all)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	return set, nil
}

func servicesIn(files protoresolve.FilePool) (names []protoreflect.FullName) {
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			names = append(names, file.Services().Get(i).FullName())
		}
		return true
	})
	slices.Sort(names)
	return names
}

// find looks a symbol up: a.Service, a.Service/Method, a.Message and so on.
func (s *schema) find(symbol string) (protoreflect.Descriptor, error) {
	name := protoreflect.FullName(strings.ReplaceAll(strings.Trim(symbol, "/"), "/", "."))
	if !name.IsValid() {
		return nil, usageError{fmt.Errorf("%q is no name of a service, a method or a message, such as package.Service/Method", symbol)}
	}
	d, err := s.FindDescriptorByName(name)
	if err != nil {
		return nil, s.explain(symbol, err)
	}
	return d, nil
}

// explain says what to do where a schema has no answer.
func (s *schema) explain(symbol string, err error) error {
	switch {
	case status.Code(err) == codes.Unimplemented:
		return errors.New("the server has no reflection service: give its .proto files with --proto, or a set of them with --protoset")
	case grpcreflect.IsElementNotFoundError(err), errors.Is(err, protoresolve.ErrNotFound):
		return fmt.Errorf("there is no %s: 'fastrpc list' and 'fastrpc describe' tell what there is", symbol)
	}
	return err
}

// method looks a method up by package.Service/Method.
func (s *schema) method(name string) (protoreflect.MethodDescriptor, error) {
	d, err := s.find(name)
	if err != nil {
		return nil, err
	}
	m, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no method, but %s: see 'fastrpc describe'", name, kindOf(d))
	}
	return m, nil
}
