// A server to reach and a client to reach it with, for pods of tests.
//
//	probe serve      answers HTTP on :8080 with the host's name and the client's address
//	probe get URL    prints what a server answers
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func main() {
	log.SetFlags(0)
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		log.Fatal(http.ListenAndServe(":8080", http.HandlerFunc(answer)))
	case len(os.Args) == 3 && os.Args[1] == "get":
		get(os.Args[2])
	default:
		log.Fatal("usage: probe serve | probe get URL")
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	host, _ := os.Hostname()
	log.Printf("%s %s from %s", r.Method, r.URL.Path, r.RemoteAddr)
	fmt.Fprintf(w, "%s to %s\n", host, r.RemoteAddr)
}

func get(url string) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		log.Fatal(err)
	}
}
