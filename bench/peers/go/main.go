// The stamp service in Go, as one would write it. usage: go_server [PORT] (0: any, printed).
package main

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"time"
)

const chunk = 1024
const stamp = "Mon Jan _2 15:04:05 2006" // ctime's form

func serve(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, len(stamp)+chunk)
	for {
		n, err := conn.Read(buf[len(stamp):])
		if n > 0 {
			time.Now().AppendFormat(buf[:0], stamp)
			if _, err := conn.Write(buf[:len(stamp)+n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func main() {
	port := "9999"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	runtime.GOMAXPROCS(1) // one thread, as the others
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			time.Sleep(time.Millisecond) // out of descriptors
			continue
		}
		go serve(conn)
	}
}
