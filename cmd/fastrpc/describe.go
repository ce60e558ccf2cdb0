package main

import (
	"fmt"
	"strings"

	"github.com/jhump/protoreflect/v2/protoprint"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/reflect/protoreflect"
)

func describeCommand() *cobra.Command {
	var f askFlags
	cmd := &cobra.Command{
		Use:   "describe [TARGET] [SYMBOL] --insecure",
		Short: "Describe a gRPC service, a method or a message of a server",
		Long: `Describe a gRPC service, a method, a message or whatever else a .proto file defines, in its language; without a
SYMBOL, every service of the server.

The server tells it by its reflection service; without one, files tell it that are given with --proto or --protoset,
and then no TARGET is needed. 'fastrpc call --help' says what a TARGET is.`,
		Example: `  fastrpc describe xdp://192.0.2.7:9000 helloworld.Greeter --insecure
  fastrpc describe grpc://192.0.2.7:50051 helloworld.HelloRequest --insecure
  fastrpc describe --proto helloworld.proto helloworld.Greeter/SayHello`,
		Args:              usageArgs(cobra.MaximumNArgs(2)),
		ValidArgsFunction: completeEnd,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.ask(cmd, args, func(s *schema, symbol string) error {
				symbols := []string{symbol}
				if symbol == "" {
					var err error
					if symbols, err = s.list(""); err != nil {
						return err
					}
				}
				for _, symbol := range symbols {
					text, err := s.describe(symbol)
					if err != nil {
						return err
					}
					fmt.Fprint(cmd.OutOrStdout(), shown(text, true))
				}
				return nil
			})
		},
	}
	f.add(cmd)
	return cmd
}

// describe writes a symbol's definition as a .proto file does.
func (s *schema) describe(symbol string) (string, error) {
	d, err := s.find(symbol)
	if err != nil {
		return "", err
	}
	p := protoprint.Printer{Compact: true, ForceFullyQualifiedNames: true, OmitComments: protoprint.CommentsNonDoc}
	text, err := p.PrintProtoToString(d)
	return fmt.Sprintf("%s is %s:\n%s\n", d.FullName(), kindOf(d), strings.TrimRight(text, "\n")), err
}

// kindOf says what a symbol names.
func kindOf(d protoreflect.Descriptor) string {
	switch d := d.(type) {
	case protoreflect.ServiceDescriptor:
		return "a service"
	case protoreflect.MethodDescriptor:
		return "a method"
	case protoreflect.MessageDescriptor:
		return "a message"
	case protoreflect.FieldDescriptor:
		if d.IsExtension() {
			return "an extension"
		}
		return "a field"
	case protoreflect.OneofDescriptor:
		return "a oneof"
	case protoreflect.EnumDescriptor:
		return "an enum"
	case protoreflect.EnumValueDescriptor:
		return "a value of an enum"
	}
	return "a package or file"
}
