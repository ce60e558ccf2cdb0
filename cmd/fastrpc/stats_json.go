package main

import (
	"fmt"
	"reflect"
	"strings"
	"time"
)

// jsonNames makes of structs what encoding/json names as this program names things in JSON: with a small first letter, or, of an abbreviation, small
// letters. Unexported fields
// and errors are left out, embedded structs belong to the one around them, and what has a String method is text.
func jsonNames(v reflect.Value) any {
	if t, ok := v.Interface().(time.Time); ok {
		return t
	}
	if s, ok := v.Interface().(fmt.Stringer); ok {
		return s.String()
	}
	switch v.Kind() {
	case reflect.Pointer:
		return jsonNames(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = jsonNames(v.Index(i))
		}
		return list
	case reflect.Struct:
		object := map[string]any{}
		addFields(object, v)
		return object
	}
	return v.Interface()
}

func addFields(object map[string]any, v reflect.Value) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous:
			addFields(object, v.Field(i))
		case f.IsExported() && f.Type.Kind() != reflect.Interface:
			object[jsonName(f.Name)] = jsonNames(v.Field(i))
		}
	}
}

func jsonName(name string) string {
	if strings.ToUpper(name) == name {
		return strings.ToLower(name)
	}
	return strings.ToLower(name[:1]) + name[1:]
}
