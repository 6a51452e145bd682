/* The call of a plan from Python: feeds taken in, the machine run outside the GIL, results given out. What is
   large is read and written where it lies, all else copied.

   It takes what a plan is made for and returns None for all else, having changed nothing that lasts: the
   caller then goes the way through Python, which converts, or says what is wrong. */
#include "python.h"

enum { MOST_OUTPUTS = 32, MOST_LENT = 32 };

typedef struct {
    PyObject *name; /* the key in a dict */
    Type *type;
    PyObject *make; /* makes a new array of an output; None where a copy of its bytes is one */
    char *address;
    Py_ssize_t bytes;
    int dimensions;
    Py_ssize_t *shape, word; /* which word of the context has its address if it may lie elsewhere, or 0 */
} Place;

/* What the machine uses where it lies, for one run: arrays to which references are held, and where they lie. */
typedef struct {
    int count;
    const Place *places[MOST_LENT];
    Array *arrays[MOST_LENT];
} Lent;

typedef struct {
    PyObject head;
    int64_t (*run)(const int64_t *context);
    int64_t *context;
    PyObject *array_type, *dict_type, *kept;
    Py_ssize_t inputs, known, outputs;
    int copies_out; /* whether results are what lies at their addresses */
    int brief;      /* whether it takes no longer than to release the GIL */
    Place *places;  /* inputs, known inputs, outputs */
} Call;

static PyObject *none; /* given by Python: as data of another library, it has no portable declaration */
static NewArray new_array;

static PyObject *returned(PyObject *object) {
    Py_IncRef(object);
    return object;
}

/* Whether types of numbers are one: what was pickled has a copy. */
static int is_type(const Type *one, const Type *other) {
    return one == other || (one->scalar == other->scalar && one->order == other->order);
}

/* An entry of a dict, if it is a dense array of just such a type and shape. */
static Array *found(const Call *call, const Place *place, PyObject *dict) {
    Array *array = (Array *)PyDict_GetItemWithError(dict, place->name);
    if (array == NULL) {
        PyErr_Clear();
        return NULL;
    }
    if (array->head.type != call->array_type || !is_type(array->type, place->type)) return NULL;
    if (array->dimensions != place->dimensions) return NULL;
    if ((array->flags & (CONTIGUOUS | ALIGNED)) != (CONTIGUOUS | ALIGNED)) return NULL;
    for (int axis = 0; axis < place->dimensions; axis++)
        if (array->shape[axis] != place->shape[axis]) return NULL;
    return array;
}

static int is_dict(const Call *call, PyObject *dict, Py_ssize_t size) {
    return dict->type == call->dict_type && PyDict_Size(dict) == size;
}

/* Takes over a reference if it says 1. */
static int lends(Lent *lent, const Place *place, Array *array) {
    if (place->word == 0 || lent->count == MOST_LENT) return 0;
    lent->places[lent->count] = place;
    lent->arrays[lent->count++] = array;
    return 1;
}

static int takes(const Call *call, PyObject *feeds, Lent *lent) {
    if (!is_dict(call, feeds, call->inputs + call->known)) return 0;
    for (Py_ssize_t i = 0; i < call->inputs; i++) {
        const Place *place = &call->places[i];
        Array *array = found(call, place, feeds);
        if (array == NULL) return 0;
        if (lends(lent, place, array))
            Py_IncRef((PyObject *)array);
        else
            memcpy(place->address, array->data, (size_t)place->bytes);
    }
    for (Py_ssize_t i = call->inputs; i < call->inputs + call->known; i++) {
        const Place *place = &call->places[i];
        Array *array = found(call, place, feeds);
        if (array == NULL || memcmp(place->address, array->data, (size_t)place->bytes) != 0) return 0;
    }
    return 1;
}

static const Place *outputs_of(const Call *call) {
    return call->places + call->inputs + call->known;
}

static void released(Array **arrays, Py_ssize_t count) {
    for (Py_ssize_t i = 0; i < count; i++) Py_DecRef((PyObject *)arrays[i]);
}

/* Gives references to the arrays of ``out`` if they own their memory, each its own: they are then apart from
   each other and from any state. References, since while others run, they may take them out of the dict. */
static int fits(const Call *call, PyObject *out, Array **arrays) {
    const Place *places = outputs_of(call);
    if (!call->copies_out || !is_dict(call, out, call->outputs)) return 0;
    for (Py_ssize_t i = 0; i < call->outputs; i++) {
        Array *array = arrays[i] = found(call, &places[i], out);
        int fit = array != NULL && (array->flags & (OWNS_DATA | WRITEABLE)) == (OWNS_DATA | WRITEABLE);
        for (Py_ssize_t j = 0; j < i; j++) fit = fit && arrays[j] != array;
        if (!fit) {
            released(arrays, i);
            return 0;
        }
        Py_IncRef((PyObject *)array);
    }
    return 1;
}

/* Between runs the context says of everything that it lies at home. */
static int64_t run(const Call *call, const Lent *lent) {
    for (int i = 0; i < lent->count; i++) call->context[lent->places[i]->word] = (int64_t)(intptr_t)lent->arrays[i]->data;
    void *thread = call->brief ? NULL : PyEval_SaveThread();
    int64_t failed = call->run(call->context);
    if (thread != NULL) PyEval_RestoreThread(thread);
    for (int i = 0; i < lent->count; i++)
        call->context[lent->places[i]->word] = (int64_t)(intptr_t)lent->places[i]->address;
    return failed;
}

static PyObject *new_result(const Call *call, const Place *place) {
    Py_IncRef((PyObject *)place->type); /* which the new array keeps */
    return new_array(call->array_type, place->type, place->dimensions, place->shape, NULL, NULL, 0, NULL);
}

static Array *lent_for(const Lent *lent, const Place *place) {
    for (int i = 0; place->word != 0 && i < lent->count; i++)
        if (lent->places[i] == place) return lent->arrays[i];
    return NULL;
}

static PyObject *copied(const Call *call, const Place *place) {
    PyObject *array;
    if (place->make != none) return PyObject_CallNoArgs(place->make);
    array = new_result(call, place);
    if (array != NULL) memcpy(((Array *)array)->data, place->address, (size_t)place->bytes);
    return array;
}

static PyObject *made(const Call *call, const Lent *lent) {
    const Place *places = outputs_of(call);
    PyObject *results = PyDict_New();
    for (Py_ssize_t i = 0; results != NULL && i < call->outputs; i++) {
        PyObject *array = (PyObject *)lent_for(lent, &places[i]);
        if (array == NULL)
            array = copied(call, &places[i]);
        else
            Py_IncRef(array);
        int failed = array == NULL || PyDict_SetItem(results, places[i].name, array) != 0;
        if (array != NULL) Py_DecRef(array);
        if (failed) {
            Py_DecRef(results);
            results = NULL;
        }
    }
    return results;
}

/* Whether the array of a result shares no memory with any feed: what is fed must be as it was if the run fails. */
static int is_apart(const Call *call, PyObject *feeds, const Place *place, const Array *array) {
    for (Py_ssize_t i = 0; i < call->inputs; i++) {
        const Array *feed = found(call, &call->places[i], feeds);
        if (feed == NULL) return 0;
        if (feed->data < array->data + place->bytes && array->data < feed->data + call->places[i].bytes) return 0;
    }
    return 1;
}

/* Gives what ``out`` holds; 0 where the machine does not take it. */
static int given(const Call *call, PyObject *feeds, PyObject *out, Lent *lent) {
    Array *arrays[MOST_OUTPUTS];
    const Place *places = outputs_of(call);
    if (!fits(call, out, arrays)) return 0;
    int done = takes(call, feeds, lent);
    for (Py_ssize_t i = 0; done && i < call->outputs; i++)
        if (places[i].word != 0 && is_apart(call, feeds, &places[i], arrays[i]) && lends(lent, &places[i], arrays[i]))
            Py_IncRef((PyObject *)arrays[i]);
    done = done && run(call, lent) < 0;
    for (Py_ssize_t i = 0; done && i < call->outputs; i++)
        if (lent_for(lent, &places[i]) == NULL) memcpy(arrays[i]->data, places[i].address, (size_t)places[i].bytes);
    released(arrays, call->outputs);
    return done;
}

static PyObject *fresh(const Call *call, PyObject *feeds, Lent *lent) {
    const Place *places = outputs_of(call);
    if (!takes(call, feeds, lent)) return returned(none);
    for (Py_ssize_t i = 0; i < call->outputs && lent->count < MOST_LENT; i++) {
        if (places[i].word == 0) continue;
        Array *array = (Array *)new_result(call, &places[i]);
        if (array == NULL) return NULL;
        lends(lent, &places[i], array);
    }
    return run(call, lent) < 0 ? made(call, lent) : returned(none);
}

static PyObject *taken(const Call *call, PyObject *feeds, PyObject *out) {
    Lent lent;
    lent.count = 0;
    PyObject *results = out == none ? fresh(call, feeds, &lent)
                                    : returned(given(call, feeds, out, &lent) ? out : none);
    released(lent.arrays, lent.count);
    return results;
}

/* Nobody else has what is claimed while the list of one is empty to them. */
static PyObject *claimed(Call *call, PyObject *feeds, PyObject *out, PyObject *free) {
    List *claim = (List *)free;
    PyObject *results;
    if (free == none) return taken(call, feeds, out);
    if (claim->length != 1) return returned(none);
    claim->length = 0;
    results = taken(call, feeds, out);
    claim->length = 1;
    return results;
}

static PyObject *call_step(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 3) return returned(none);
    return claimed((Call *)self, arguments[0], arguments[1], arguments[2]);
}

static void call_dealloc(PyObject *self) {
    Call *call = (Call *)self;
    PyObject *type = self->type;
    Py_ssize_t count = call->inputs + call->known + call->outputs;
    for (Py_ssize_t i = 0; call->places != NULL && i < count; i++) {
        Place *place = &call->places[i];
        if (place->name != NULL) Py_DecRef(place->name);
        if (place->type != NULL) Py_DecRef((PyObject *)place->type);
        if (place->make != NULL) Py_DecRef(place->make);
        PyMem_Free(place->shape);
    }
    PyMem_Free(call->places);
    if (call->array_type != NULL) Py_DecRef(call->array_type);
    if (call->dict_type != NULL) Py_DecRef(call->dict_type);
    if (call->kept != NULL) Py_DecRef(call->kept);
    PyObject_Free(self);
    Py_DecRef(type);
}

/* A place from (name, dtype, make, address, bytes, shape, word). */
static int fill(Place *place, PyObject *from) {
    PyObject *shape = PyTuple_GetItem(from, 5);
    place->name = returned(PyTuple_GetItem(from, 0));
    place->type = (Type *)returned(PyTuple_GetItem(from, 1));
    place->make = returned(PyTuple_GetItem(from, 2));
    place->address = PyLong_AsVoidPtr(PyTuple_GetItem(from, 3));
    place->bytes = PyLong_AsSsize_t(PyTuple_GetItem(from, 4));
    place->word = PyLong_AsSsize_t(PyTuple_GetItem(from, 6));
    place->dimensions = (int)PyTuple_Size(shape);
    place->shape = PyMem_Calloc((size_t)place->dimensions + 1, sizeof *place->shape);
    if (place->shape == NULL) return 0;
    for (int axis = 0; axis < place->dimensions; axis++)
        place->shape[axis] = PyLong_AsSsize_t(PyTuple_GetItem(shape, axis));
    return PyErr_Occurred() == NULL;
}

/* Call((ndarray, dict, kept), run, context, inputs, known, outputs, copies_out, brief); places are tuples. */
static PyObject *call_new(PyObject *type, PyObject *given, PyObject *names) {
    (void)names;
    Call *call = (Call *)PyType_GenericAlloc(type, 0);
    if (call == NULL) return NULL;
    PyObject *types = PyTuple_GetItem(given, 0);
    call->array_type = returned(PyTuple_GetItem(types, 0));
    call->dict_type = returned(PyTuple_GetItem(types, 1));
    call->kept = returned(PyTuple_GetItem(types, 2));
    call->run = (int64_t(*)(const int64_t *))(uintptr_t)PyLong_AsVoidPtr(PyTuple_GetItem(given, 1));
    call->context = PyLong_AsVoidPtr(PyTuple_GetItem(given, 2));
    Py_ssize_t counts[3];
    for (int i = 0; i < 3; i++) counts[i] = PyTuple_Size(PyTuple_GetItem(given, 3 + i));
    call->copies_out = PyLong_AsSsize_t(PyTuple_GetItem(given, 6)) && counts[2] <= MOST_OUTPUTS;
    call->brief = PyLong_AsSsize_t(PyTuple_GetItem(given, 7)) != 0;
    call->places = PyMem_Calloc((size_t)(counts[0] + counts[1] + counts[2]) + 1, sizeof *call->places);
    if (call->places == NULL) {
        Py_DecRef((PyObject *)call);
        return PyErr_NoMemory();
    }
    call->inputs = counts[0], call->known = counts[1], call->outputs = counts[2];
    Place *place = call->places;
    for (int i = 0; i < 3; i++)
        for (Py_ssize_t j = 0; j < counts[i]; j++)
            if (!fill(place++, PyTuple_GetItem(PyTuple_GetItem(given, 3 + i), j))) {
                Py_DecRef((PyObject *)call);
                return PyErr_Occurred() == NULL ? PyErr_NoMemory() : NULL;
            }
    return (PyObject *)call;
}

/* A step of some arrays, again and again; what the call does not take, ``otherwise`` does. */
typedef struct {
    PyObject head;
    PyObject *call, *feeds, *out, *free, *otherwise;
} Bound;

static PyObject *bound_step(PyObject *self, PyObject *unused) {
    (void)unused;
    Bound *bound = (Bound *)self;
    PyObject *results = claimed((Call *)bound->call, bound->feeds, bound->out, bound->free);
    if (results != none) return results;
    Py_DecRef(results);
    return PyObject_CallNoArgs(bound->otherwise);
}

static void bound_dealloc(PyObject *self) {
    Bound *bound = (Bound *)self;
    PyObject *type = self->type, **parts = &bound->call;
    for (int i = 0; i < 5; i++)
        if (parts[i] != NULL) Py_DecRef(parts[i]);
    PyObject_Free(self);
    Py_DecRef(type);
}

/* Bound(call, feeds, out, free, otherwise). */
static PyObject *bound_new(PyObject *type, PyObject *given, PyObject *names) {
    (void)names;
    PyObject *bound = PyType_GenericAlloc(type, 0);
    if (bound == NULL) return NULL;
    PyObject **parts = &((Bound *)bound)->call;
    for (int i = 0; i < 5; i++) parts[i] = returned(PyTuple_GetItem(given, i));
    return bound;
}

/* What this file takes an array to be: (address, dimensions, first size, dtype, flags, type of an element, order
   of bytes). */
static PyObject *described(PyObject *module, PyObject *object) {
    (void)module;
    Array *array = (Array *)object;
    PyObject *about = PyTuple_New(7);
    if (about == NULL) return NULL;
    PyTuple_SetItem(about, 0, PyLong_FromVoidPtr(array->data));
    PyTuple_SetItem(about, 1, PyLong_FromSsize_t(array->dimensions));
    PyTuple_SetItem(about, 2, PyLong_FromSsize_t(array->shape[0]));
    PyTuple_SetItem(about, 3, returned((PyObject *)array->type));
    PyTuple_SetItem(about, 4, PyLong_FromSsize_t(array->flags));
    PyTuple_SetItem(about, 5, returned(array->type->scalar));
    PyTuple_SetItem(about, 6, PyLong_FromSsize_t(array->type->order));
    return about;
}

/* prepared(None, NumPy's table of functions) */
static PyObject *prepared(PyObject *module, PyObject *const *arguments, Py_ssize_t count) {
    (void)module;
    void **table = count == 2 ? PyCapsule_GetPointer(arguments[1], NULL) : NULL;
    if (table == NULL) return NULL;
    none = returned(arguments[0]);
    new_array = (NewArray)(uintptr_t)table[NEW_ARRAY];
    return returned(none);
}

static PyMethodDef call_methods[] = {
    {"step", (PyCFunction)(void (*)(void))call_step, FAST_ARGUMENTS, "step(feeds, out, free)"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot call_slots[] = {
    {SLOT_NEW, call_new}, {SLOT_DEALLOC, call_dealloc}, {SLOT_METHODS, call_methods}, {0, NULL}};
static PyType_Spec call_type = {"tinyseq.kernels.call.Call", sizeof(Call), 0, TYPE_FLAGS, call_slots};

static PyMethodDef bound_methods[] = {
    {"step", bound_step, NO_ARGUMENTS, "step()"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot bound_slots[] = {
    {SLOT_NEW, bound_new}, {SLOT_DEALLOC, bound_dealloc}, {SLOT_METHODS, bound_methods}, {0, NULL}};
static PyType_Spec bound_type = {"tinyseq.kernels.call.Bound", sizeof(Bound), 0, TYPE_FLAGS, bound_slots};

static int executed(PyObject *module) {
    PyObject *types[] = {PyType_FromSpec(&call_type), PyType_FromSpec(&bound_type)};
    static const char *names[] = {"Call", "Bound"};
    for (int i = 0; i < 2; i++) {
        if (types[i] == NULL || PyModule_AddObjectRef(module, names[i], types[i]) != 0) return -1;
        Py_DecRef(types[i]);
    }
    return 0;
}

static PyMethodDef functions[] = {
    {"described", described, ONE_ARGUMENT, "described(array)"},
    {"prepared", (PyCFunction)(void (*)(void))prepared, FAST_ARGUMENTS, "prepared(None, table)"},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot module_slots[] = {{MODULE_EXECUTES, (void *)executed}, {0, NULL}};
static PyModuleDef module = {
    {{1, NULL}, NULL, 0, NULL}, "_call", "The call of a plan from Python.", 0, functions, module_slots, NULL, NULL, NULL};

TO_PYTHON PyObject *PyInit__call(void) {
    return PyModuleDef_Init(&module);
}
