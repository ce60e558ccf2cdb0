package nic

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/mdlayher/genetlink"
	"github.com/mdlayher/netlink"
)

// family returns the number that generic netlink has given to a family. An older kernel has none of that name.
func (d *Device) family(name string) (uint16, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if id, ok := d.families[name]; ok {
		return id, nil
	}
	f, err := d.genl.GetFamily(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("this kernel has no netlink family %q: %w", name, errors.ErrUnsupported)
	}
	if err != nil {
		return 0, err
	}
	d.families[name] = f.ID
	return f.ID, nil
}

// generic makes a request of a family and gives each answer to decode.
func (d *Device) generic(family, what string, cmd uint8, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder),
	decode func(*netlink.AttributeDecoder) error) error {
	if err := d.execute(family, cmd, flags, encode, decode); err != nil {
		name, nameErr := d.Name()
		if nameErr != nil {
			return nameErr
		}
		return failed(what, name, reason(err))
	}
	return nil
}

func (d *Device) execute(family string, cmd uint8, flags netlink.HeaderFlags, encode func(*netlink.AttributeEncoder),
	decode func(*netlink.AttributeDecoder) error) error {
	id, err := d.family(family)
	if err != nil {
		return err
	}
	enc := netlink.NewAttributeEncoder()
	encode(enc)
	data, err := enc.Encode()
	if err != nil {
		return err
	}
	answers, err := d.genl.Execute(genetlink.Message{Header: genetlink.Header{Command: cmd, Version: 1}, Data: data}, id, netlink.Request|flags)
	if err != nil || decode == nil {
		return err
	}
	for _, m := range answers {
		dec, err := netlink.NewAttributeDecoder(m.Data)
		if err != nil {
			return err
		}
		if err := errors.Join(decode(dec), dec.Err()); err != nil {
			return err
		}
	}
	return nil
}

// reason is the kernel's answer with its own words, where it has some (extended acknowledgement).
func reason(err error) error {
	var op *netlink.OpError
	switch {
	case !errors.As(err, &op):
		return err
	case op.Message == "":
		return op.Err
	}
	return fmt.Errorf("%w: the kernel says %q", op.Err, op.Message)
}
