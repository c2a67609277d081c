module airegw/tools

go 1.26.0
