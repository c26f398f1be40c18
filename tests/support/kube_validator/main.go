// Says what a Kubernetes API server answers to the creation of Jobs: its own strict decoder, defaults and validation,
// without the server. Reads {"name", "body"} in lines, writes {"name", "code", "reason", "message"}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	"k8s.io/kubernetes/pkg/apis/batch/validation"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
)

// strategy is what the server's own for Jobs does, as far as the creation of a new one goes.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
}

func (strategy) NamespaceScoped() bool { return true }
func (strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	job := obj.(*batch.Job)
	job.Status = batch.JobStatus{}
	job.Generation = 1
	if job.Spec.Template.Labels == nil {
		job.Spec.Template.Labels = map[string]string{}
	}
	for _, key := range []string{"controller-uid", "batch.kubernetes.io/controller-uid"} {
		job.Spec.Template.Labels[key] = string(job.UID)
	}
	for _, key := range []string{"job-name", "batch.kubernetes.io/job-name"} {
		job.Spec.Template.Labels[key] = job.Name
	}
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"batch.kubernetes.io/controller-uid": string(job.UID)}}
}
func (strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return validation.ValidateJob(obj.(*batch.Job), validation.JobValidationOptions{RequirePrefixedLabels: true})
}
func (strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string { return nil }
func (strategy) Canonicalize(obj runtime.Object)                                   {}

func check(body []byte) (int32, string, string) {
	gv := schema.GroupVersion{Group: "batch", Version: "v1"}
	gvk := gv.WithKind("Job")
	codecs := serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict)
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), "application/json")
	decoder := codecs.DecoderToVersion(info.StrictSerializer, schema.GroupVersion{Group: "batch", Version: runtime.APIVersionInternal})
	obj, actual, err := decoder.Decode(body, &gvk, &batch.Job{})
	if err != nil {
		return 400, "BadRequest", err.Error()
	}
	if actual.GroupVersion() != gv {
		return 400, "BadRequest", "version " + actual.String()
	}
	job, ok := obj.(*batch.Job)
	if !ok {
		return 400, "BadRequest", fmt.Sprintf("%T", obj)
	}
	rest.FillObjectMetaSystemFields(job)
	ctx := genericapirequest.WithNamespace(context.Background(), "load")
	job.Namespace = "load"
	if err := rest.BeforeCreate(strategy{legacyscheme.Scheme, names.SimpleNameGenerator}, ctx, job); err != nil {
		if status, ok := err.(apierrors.APIStatus); ok {
			return status.Status().Code, string(status.Status().Reason), status.Status().Message
		}
		return 500, "", err.Error()
	}
	return 201, "", ""
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var given struct {
			Name string
			Body json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &given); err != nil {
			panic(err)
		}
		code, reason, message := check(given.Body)
		out, _ := json.Marshal(map[string]any{"name": given.Name, "code": code, "reason": reason, "message": message})
		fmt.Println(string(out))
	}
}
