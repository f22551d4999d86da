module bench/gohttp

go 1.22
