package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// A table of DynamoDB, as far as the functions ask: whole items are kept under their
// key, and an update does what its expression says. Conditions other than whether
// the item exists are taken to hold: whoever measures asks for nothing that they
// would refuse.
type tables struct {
	mu    sync.Mutex
	items map[string]item // by table and key
}

type item map[string]json.RawMessage

// A call is a request of any operation.
type call struct {
	TableName                 string
	Key, Item                 item
	ConditionExpression       string
	UpdateExpression          string
	ExpressionAttributeNames  map[string]string
	ExpressionAttributeValues item
	TransactItems             []struct{ Put *call }
}

var _ http.Handler = (*tables)(nil)

func (d *tables) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var c call
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(text, &c)
	}
	var answer any
	if err == nil {
		_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
		answer, err = d.perform(operation, c)
	}
	status := http.StatusOK
	if err != nil {
		kind, message, _ := strings.Cut(err.Error(), ": ")
		answer, status = map[string]string{"__type": "com.amazonaws.dynamodb.v20120810#" + kind, "message": message}, http.StatusBadRequest
	}
	body, err := json.Marshal(answer)
	if err != nil {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.Header().Set("X-Amz-Crc32", strconv.FormatUint(uint64(crc32.ChecksumIEEE(body)), 10))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func (d *tables) perform(operation string, c call) (any, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch operation {
	case "GetItem":
		if it, ok := d.items[c.place(c.Key)]; ok {
			return map[string]item{"Item": it}, nil
		}
		return map[string]item{}, nil
	case "PutItem":
		return map[string]item{}, d.put(c)
	case "TransactWriteItems":
		for _, t := range c.TransactItems {
			if t.Put == nil {
				continue
			}
			if err := d.put(*t.Put); err != nil {
				return nil, err
			}
		}
		return map[string]item{}, nil
	case "UpdateItem":
		it, err := d.update(c)
		return map[string]item{"Attributes": it}, err
	case "DeleteItem":
		delete(d.items, c.place(c.Key))
		return map[string]item{}, nil
	default:
		return nil, fmt.Errorf("UnknownOperationException: %s", operation)
	}
}

func (c call) place(key item) string { return c.TableName + " " + string(key["pk"]) }

func (d *tables) put(c call) error {
	place := c.place(c.Item)
	if _, there := d.items[place]; there && strings.Contains(c.ConditionExpression, "attribute_not_exists(#pk)") {
		return fmt.Errorf("ConditionalCheckFailedException: The conditional request failed")
	}
	d.items[place] = c.Item
	return nil
}

// update knows "SET #a = :b, #c = #d, #e = #e + :one REMOVE #f".
func (d *tables) update(c call) (item, error) {
	old, there := d.items[c.place(c.Key)]
	if !there && strings.Contains(c.ConditionExpression, "attribute_exists(#pk)") {
		return nil, fmt.Errorf("ConditionalCheckFailedException: The conditional request failed")
	}
	next := item{}
	for _, from := range []item{old, c.Key} {
		for name, value := range from {
			next[name] = value
		}
	}
	set, remove, _ := strings.Cut(strings.TrimPrefix(c.UpdateExpression, "SET "), "REMOVE ")
	for assignment := range strings.SplitSeq(set, ", ") {
		name, value, _ := strings.Cut(strings.TrimSpace(assignment), " = ")
		v, err := c.value(old, value)
		if err != nil {
			return nil, err
		}
		next[c.ExpressionAttributeNames[name]] = v
	}
	for name := range strings.SplitSeq(remove, ", ") {
		delete(next, c.ExpressionAttributeNames[strings.TrimSpace(name)])
	}
	d.items[c.place(c.Key)] = next
	return next, nil
}

func (c call) value(old item, expression string) (json.RawMessage, error) {
	left, right, sum := strings.Cut(expression, " + ")
	operand := func(name string) json.RawMessage {
		if strings.HasPrefix(name, "#") {
			return old[c.ExpressionAttributeNames[name]]
		}
		return c.ExpressionAttributeValues[name]
	}
	if !sum {
		if v := operand(left); v != nil {
			return v, nil
		}
		return nil, fmt.Errorf("ValidationException: nothing is known of %s", expression)
	}
	total := int64(0)
	for _, name := range []string{left, right} {
		var n struct {
			N int64 `json:",string"`
		}
		if err := json.Unmarshal(operand(name), &n); err != nil {
			return nil, fmt.Errorf("ValidationException: %w", err)
		}
		total += n.N
	}
	return json.Marshal(map[string]string{"N": strconv.FormatInt(total, 10)})
}
