/* What a call needs of CPython's stable ABI (abi3, from 3.11 on) and of NumPy's arrays: declarations alone, so
   that it is compiled for every platform without their headers. Of CPython with the GIL. */
#ifndef TINYSEQ_PYTHON_H
#define TINYSEQ_PYTHON_H

#include <stddef.h>
#include <stdint.h>

#define FROM_C
#ifdef _WIN32
#define FROM_PYTHON __declspec(dllimport)
#define TO_PYTHON __declspec(dllexport)
#else
#define FROM_PYTHON
#define TO_PYTHON __attribute__((visibility("default")))
#endif

typedef ptrdiff_t Py_ssize_t;
typedef struct object {
    Py_ssize_t references;
    struct object *type;
} PyObject;
typedef struct {
    PyObject head;
    Py_ssize_t length;
} List; /* PyVarObject */
typedef PyObject *(*PyCFunction)(PyObject *self, PyObject *argument);
typedef PyObject *(*PyCFunctionFast)(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
typedef struct {
    const char *name;
    PyCFunction function;
    int flags;
    const char *documentation;
} PyMethodDef;
typedef struct {
    int slot;
    void *function;
} PyType_Slot;
typedef struct {
    const char *name;
    int size, item_size;
    unsigned int flags;
    PyType_Slot *slots;
} PyType_Spec;
typedef struct {
    PyObject head;
    PyObject *(*init)(void);
    Py_ssize_t index;
    PyObject *copy;
} PyModuleDef_Base;
typedef struct {
    PyModuleDef_Base base;
    const char *name, *documentation;
    Py_ssize_t size;
    PyMethodDef *methods;
    PyType_Slot *slots;
    void *traverse, *clear, *free;
} PyModuleDef;

enum { NO_ARGUMENTS = 0x0004, ONE_ARGUMENT = 0x0008, FAST_ARGUMENTS = 0x0080 };
enum { SLOT_DEALLOC = 52, SLOT_METHODS = 64, SLOT_NEW = 65 };
enum { MODULE_EXECUTES = 2 };
enum { TYPE_FLAGS = 1 << 18 }; /* Py_TPFLAGS_DEFAULT */

FROM_C int memcmp(const void *, const void *, size_t);
FROM_C void *memcpy(void *, const void *, size_t);

FROM_PYTHON void Py_IncRef(PyObject *object);
FROM_PYTHON void Py_DecRef(PyObject *object);
FROM_PYTHON void *PyCapsule_GetPointer(PyObject *capsule, const char *name);
FROM_PYTHON PyObject *PyDict_New(void);
FROM_PYTHON Py_ssize_t PyDict_Size(PyObject *dict);
FROM_PYTHON PyObject *PyDict_GetItemWithError(PyObject *dict, PyObject *key);
FROM_PYTHON int PyDict_SetItem(PyObject *dict, PyObject *key, PyObject *value);
FROM_PYTHON void PyErr_Clear(void);
FROM_PYTHON PyObject *PyErr_NoMemory(void);
FROM_PYTHON PyObject *PyErr_Occurred(void);
FROM_PYTHON void *PyEval_SaveThread(void);
FROM_PYTHON void PyEval_RestoreThread(void *state);
FROM_PYTHON Py_ssize_t PyLong_AsSsize_t(PyObject *number);
FROM_PYTHON void *PyLong_AsVoidPtr(PyObject *number);
FROM_PYTHON PyObject *PyLong_FromSsize_t(Py_ssize_t number);
FROM_PYTHON PyObject *PyLong_FromVoidPtr(void *address);
FROM_PYTHON void *PyMem_Calloc(size_t count, size_t size);
FROM_PYTHON void PyMem_Free(void *memory);
FROM_PYTHON int PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *object);
FROM_PYTHON PyObject *PyModuleDef_Init(PyModuleDef *definition);
FROM_PYTHON PyObject *PyObject_CallNoArgs(PyObject *callable);
FROM_PYTHON void PyObject_Free(void *object);
FROM_PYTHON PyObject *PyTuple_GetItem(PyObject *tuple, Py_ssize_t index);
FROM_PYTHON PyObject *PyTuple_New(Py_ssize_t size);
FROM_PYTHON int PyTuple_SetItem(PyObject *tuple, Py_ssize_t index, PyObject *item);
FROM_PYTHON Py_ssize_t PyTuple_Size(PyObject *tuple);
FROM_PYTHON PyObject *PyType_FromSpec(PyType_Spec *spec);
FROM_PYTHON PyObject *PyType_GenericAlloc(PyObject *type, Py_ssize_t items);

/* PyArray_Descr and PyArrayObject_fields of NumPy's C interface, as far as all that is compiled against it reads
   them. */
typedef struct {
    PyObject head;
    PyObject *scalar; /* the type of an element as an object */
    char kind, letter, order;
} Type;
typedef struct {
    PyObject head;
    char *data;
    int dimensions;
    Py_ssize_t *shape, *strides;
    PyObject *base;
    Type *type;
    int flags;
} Array;

/* PyArray_NewFromDescr, and its place in the table of NumPy's C interface. */
typedef PyObject *(*NewArray)(PyObject *array_type, Type *type, int dimensions, const Py_ssize_t *shape,
                              const Py_ssize_t *strides, void *data, int flags, PyObject *object);
enum { NEW_ARRAY = 94 };

enum { CONTIGUOUS = 0x0001, OWNS_DATA = 0x0004, ALIGNED = 0x0100, WRITEABLE = 0x0400 };

#endif
