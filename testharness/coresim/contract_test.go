package coresim

import (
	"context"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

const contractPath = "../../gateway/issuance/core.openapi.yaml"

func loadContract(t testing.TB) *openapi3.T {
	t.Helper()
	loader := openapi3.NewLoader()
	doc, err := loader.LoadFromFile(contractPath)
	if err != nil {
		t.Fatalf("load the contract: %v", err)
	}
	return doc
}

func TestTheContractIsAValidOpenAPIDocument(t *testing.T) {
	t.Parallel()
	doc := loadContract(t)
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatalf("the contract is not valid: %v", err)
	}
}

func TestEveryExampleOfTheContractFitsItsSchema(t *testing.T) {
	t.Parallel()
	doc := loadContract(t)
	if len(doc.Components.Examples) == 0 {
		t.Fatal("no examples")
	}
	for name, ref := range doc.Components.Examples {
		schemaRef, ok := ref.Value.Extensions["x-schema"].(string)
		if !ok {
			t.Errorf("example %s names no x-schema", name)
			continue
		}
		schema := doc.Components.Schemas[strings.TrimPrefix(schemaRef, "#/components/schemas/")]
		if schema == nil {
			t.Errorf("example %s names an unknown schema %s", name, schemaRef)
			continue
		}
		if err := schema.Value.VisitJSON(ref.Value.Value, openapi3.EnableFormatValidation()); err != nil {
			t.Errorf("example %s: %v", name, err)
		}
	}
}
